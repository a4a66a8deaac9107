"""From conditional probabilities of neighbours to the joint, symmetric ones, in compressed rows.

The incoming edges of a block of rows are merged with the rows' own. Blocks bound the memory (the transpose of
everything would be as large as the input) and give the threads their work. Looking up each edge's return in the other
row's list instead took seven times as long. In memory the incoming edges are gathered by one scan of all edges for each
block; on their way over the disk all edges are scattered once, to the blocks that they lead to.
"""

from __future__ import annotations

import numpy as np

from tsne_ooc._kernels._jit import kernel

f32, u64 = np.float32, np.uint64


@kernel
def count_incoming(neighbors, counts):
    """How many rows have each row as a neighbour."""
    for i in range(u64(neighbors.shape[0])):
        for e in range(u64(neighbors.shape[1])):
            counts[neighbors[i, e]] += 1


@kernel
def gather_incoming(neighbors, p, first, last, cursor, sources, values):
    """The edges into rows `first` to `last`, in the order of the rows they come from."""
    width = u64(last - first)
    for i in range(u64(neighbors.shape[0])):
        for e in range(u64(neighbors.shape[1])):
            local = u64(neighbors[i, e]) - u64(first)
            if local < width:
                at = cursor[local]
                sources[at] = i
                if p.size:
                    values[at] = p[i, e]
                cursor[local] = at + u64(1)


@kernel
def count_edges(neighbors, block_of, counts):
    """How many edges lead to each block of rows."""
    for i in range(u64(neighbors.shape[0])):
        for e in range(u64(neighbors.shape[1])):
            counts[block_of[neighbors[i, e]]] += 1


@kernel
def scatter_edges(neighbors, p, first, block_of, cursor, targets, sources, values):
    """The edges of rows from `first` on, those that lead to one block of rows together, else in their own order."""
    for i in range(u64(neighbors.shape[0])):
        for e in range(u64(neighbors.shape[1])):
            j = neighbors[i, e]
            at = cursor[block_of[j]]
            targets[at] = j
            sources[at] = u64(first) + i
            if p.size:
                values[at] = p[i, e]
            cursor[block_of[j]] = at + u64(1)


@kernel
def sort_edges(targets, froms, p, first, cursor, sources, values):
    """As `gather_incoming`, from edges that all lead to the block, and come in the order of the rows they come from."""
    for edge in range(u64(len(targets))):
        local = u64(targets[edge]) - u64(first)
        at = cursor[local]
        sources[at] = froms[edge]
        if p.size:
            values[at] = p[edge]
        cursor[local] = at + u64(1)


@kernel
def merge(neighbors, p, offsets, sources, incoming, scale, place, ends, indices, values):
    """Merge own and incoming edges of a block of rows: a row's own in their order, then the new ones.

    `place` is work space, a zero for each of all rows. `ends[row + 1]` receives the number of edges of each row while
    `indices` has no room; called again with room, and with `ends` summed up, the kernel writes them.
    """
    k = u64(neighbors.shape[1])
    writing = indices.size > 0
    for i in range(u64(neighbors.shape[0])):
        out = ends[i]
        count = k
        for e in range(k):
            j = neighbors[i, e]
            place[j] = e + u64(1)
            if writing:
                indices[out + e] = j
                if p.size:
                    values[out + e] = p[i, e] * scale
        for at in range(offsets[i], offsets[i + u64(1)]):
            known = u64(place[sources[at]])
            if known == u64(0):
                if writing:
                    indices[out + count] = sources[at]
                    if p.size:
                        values[out + count] = incoming[at] * scale
                count += u64(1)
            elif writing and p.size:
                # The sum of the two is rounded once, in this order or the other alike: P stays symmetric to the bit.
                values[out + known - u64(1)] = (p[i, known - u64(1)] + incoming[at]) * scale
        for e in range(k):
            place[neighbors[i, e]] = 0
        if not writing:
            ends[i + u64(1)] = count
