"""Hashes of rows, the same for a row whether it is dense or sparse."""

from __future__ import annotations

import numpy as np

from tsne_ooc._kernels._jit import kernel, piece

u32, u64 = np.uint32, np.uint64


@piece
def _mix(x):
    """The finaliser of MurmurHash3: each bit of x changes half of the bits."""
    x = (x ^ (x >> u64(33))) * u64(0xFF51AFD7ED558CCD)
    x = (x ^ (x >> u64(33))) * u64(0xC4CEB9FE1A85EC53)
    return x ^ (x >> u64(33))


@piece
def _cell(column, word):
    """What a cell adds to each half of its row's hash: nothing where it is zero, of either sign."""
    if word & u32(0x7FFFFFFF) == u32(0):
        return u64(0), u64(0)
    both = (u64(column) << u64(32)) | u64(word)
    return _mix(both + u64(0x9E3779B97F4A7C15)), _mix(both ^ u64(0xD1B54A32D192ED03))


@kernel
def hash_dense(words, start, stop, out):
    """Hashes (n, 2) of rows of float32, seen as 32-bit words. They are sums, so neither order nor zeros matter."""
    for i in range(u64(start), u64(stop)):
        a, b = u64(0), u64(0)
        for j in range(u64(words.shape[1])):
            one, other = _cell(j, words[i, j])
            a += one
            b += other
        out[i, 0] = a
        out[i, 1] = b


@kernel
def hash_sparse(indptr, indices, words, start, stop, out):
    """The same for compressed rows in which each column occurs once."""
    for i in range(u64(start), u64(stop)):
        a, b = u64(0), u64(0)
        for entry in range(u64(indptr[i]), u64(indptr[i + u64(1)])):
            one, other = _cell(indices[entry], words[entry])
            a += one
            b += other
        out[i, 0] = a
        out[i, 1] = b
