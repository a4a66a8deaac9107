"""All sizes by which the package cuts its work, in one table: blocks, limits, and numbers that are neither.

`unit/test_block_sizes.py` reads the source, so a new constant has to find its line here. Blocks are set to 7 there, and
what comes out is compared with what comes out otherwise.
"""

from __future__ import annotations

from typing import NamedTuple


class Block(NamedTuple):
    """A constant that cuts rows, columns, entries or bytes into pieces that are worked on one by one.

    Parameters
    ----------
    scenario : str
        A function of `unit/test_block_sizes.py` whose result depends on the pieces being put together rightly.
    digits : float
        0: the same bits for any size. Else sums in other pieces are rounded otherwise, by so much relative to the
        largest number.
    small : int
        The size that is tried.
    watched : bool
        Whether the test can see that the size was asked for.
    """

    scenario: str
    digits: float = 0.0
    small: int = 7
    watched: bool = True


def _split(name: str) -> tuple[str, str]:
    """Module and name; a class belongs to the name."""
    module, _, last = name.rpartition(".")
    above, _, owner = module.rpartition(".")
    return (above, f"{owner}.{last}") if owner[:1].isupper() else (module, last)


BLOCKS = {
    # One row, or one entry, does not know of others: the same bits.
    ("_validate", "_PIECE"): Block("validation"),
    ("affinity", "ROWS"): Block("affinities"),
    ("joint", "BLOCKS"): Block("affinities"),
    ("joint", "LEAST"): Block("affinities"),
    ("equal_rows", "ROWS"): Block("equality"),
    ("export.content", "ROWS"): Block("exports"),
    ("estimator.fitted_map", "BLOCK"): Block("placing"),
    ("fit.rows", "BLOCK"): Block("fit"),
    ("fit.searched", "BLOCK"): Block("searched_on_disk"),
    ("scratch.neighbors", "BLOCK"): Block("kept_on_disk"),
    ("scratch.joint", "EDGES"): Block("kept_on_disk"),
    ("scratch.joint", "MOST_PIECES"): Block("kept_on_disk"),
    ("scratch.joint", "AT_ONCE"): Block("kept_on_disk", small=2),
    ("scratch.joint", "AHEAD"): Block("kept_on_disk"),
    ("gradients.crowd", "ROWS"): Block("crowd"),
    ("gradients.repulsion", "ExactRepulsion.ROWS"): Block("repulsion"),
    ("groups", "_BLOCK"): Block("groups"),
    ("io.cuts", "BLOCK_BYTES"): Block("blocks"),
    ("io.columns", "_PIECE"): Block("columns"),
    ("io.hdf5", "_LARGEST_CACHE"): Block("large_chunks"),
    ("storage.sink", "_PIECE"): Block("sink"),
    ("neighbors._blocks", "ALL"): Block("searches"),
    ("neighbors._blocks", "PIECE"): Block("searches"),
    ("neighbors._blocks", "WIDTH"): Block("searches"),
    ("neighbors._found", "GROUP"): Block("searches"),
    ("neighbors.annoy_index", "GROUP"): Block("searches"),
    ("neighbors.bits", "BLOCK"): Block("bits"),
    ("neighbors.bits", "GROUP"): Block("bits"),
    ("neighbors.bits", "PIECE"): Block("bits"),
    ("metrics._common", "GROUP"): Block("quality"),
    ("metrics._space", "TILE"): Block("ranks"),
    ("metrics.neighborhoods", "_VOTES"): Block("quality"),
    ("neighbors.distinct", "COPIES"): Block("few_copies", watched=False),
    ("neighbors.distinct", "GROUP"): Block("copies"),
    ("neighbors.exact", "ENTRIES"): Block("pairs"),
    ("neighbors.exact", "GROUP"): Block("searches"),
    ("neighbors.folder", "ROWS"): Block("graph_folders"),
    ("neighbors.given_graphs", "PAIRS"): Block("graph_folders"),
    ("neighbors.gaps", "GROUP"): Block("gaps"),
    ("neighbors.gaps", "SPARE"): Block("gaps", small=32),
    ("neighbors.hnsw", "PIECE"): Block("graph"),
    ("neighbors.ivf", "EVERYWHERE"): Block("searches"),
    ("neighbors.ivf", "GROUP"): Block("searches"),
    ("neighbors.ivf", "PROBES"): Block("searches"),
    ("neighbors.ivf", "SLAB"): Block("searches"),
    ("neighbors.ivf", "SPARING"): Block("searched_on_disk", small=2),
    ("neighbors.ivf", "TOGETHER"): Block("searches"),
    ("neighbors.kmeans", "GROUP"): Block("searches"),
    ("neighbors.pairwise", "STRIP"): Block("pairs"),
    ("parametric.validation", "_GROUP"): Block("held_out"),
    ("parametric.objectives.field", "ROWS"): Block("targets"),
    ("pipeline.looking", "_ROWS"): Block("rounds"),
    ("pipeline.placing", "_PIECE"): Block("distribution", watched=False),
    ("pipeline.merging", "_PIECE"): Block("parts"),
    ("placement", "ROWS"): Block("placing"),
    ("placement", "SUMMED_ROWS"): Block("trust"),
    ("plot.rows", "SHADED"): Block("shading"),
    ("trust.judge", "BLOCK"): Block("trust"),
    ("trust.moves", "PIECE"): Block("trust"),
    ("preprocess.onehot", "_TEXT"): Block("categories"),
    ("preprocess.rows", "_PIECE"): Block("preparation"),
    ("sampling.take", "_GAP_BYTES"): Block("taking", watched=False),
    ("storage.mapped", "NUMBERS"): Block("searched_on_disk"),
    ("storage.mapped", "PIECE"): Block("graph_folders"),
    ("storage.writing", "_PIECE"): Block("storing"),
    ("streaming", "MOST_ROWS"): Block("streaming"),
    # Sums.
    ("gradients.attraction", "ENTRIES"): Block("attraction", 1e-7),
    ("gradients.convolve", "COLUMN_BYTES"): Block("convolution", 1e-6),
    ("gradients.convolve", "ROW_BYTES"): Block("convolution", 1e-6),
    ("gradients.field", "BAND_POINTS"): Block("field", 1e-5),
    ("gradients.field", "ROWS"): Block("field", 1e-7),
    ("fit.initialization", "ROWS"): Block("start", 1e-6),
    ("metrics.agreement", "_HEIGHT"): Block("quality", 1e-12),
    ("metrics.agreement", "_ROWS"): Block("quality", 1e-12),
    ("metrics.agreement", "_WIDTH"): Block("quality", 1e-12),
    ("parametric.decoder", "_PIECE"): Block("scales", 1e-6),
    ("parametric.network", "_PIECE"): Block("scales", 1e-6),
    ("preprocess.rows", "_MOST_ROWS"): Block("statistics", 1e-9),
    ("preprocess.rows", "_TILE"): Block("statistics", 1e-9),
    ("preprocess.sketch", "_COLUMNS"): Block("sketch", 1e-7),
    ("preprocess.sketch", "_ROWS"): Block("sketch", 1e-7),
    ("preprocess.statistics", "_PIECE"): Block("statistics", 1e-9),
    ("preprocess.statistics", "_SIDE"): Block("statistics", 1e-9),
    ("preprocess.transformer", "_MOST"): Block("transformer", 1e-9),
    ("preprocess.transformer", "_NUMBERS"): Block("transformer", 1e-9),
}
# Limits beyond which another way is taken, and the file that takes both.
CROSSED = {
    ("gradients.repulsion", "EXACT_BELOW"): "parametric/test_objectives.py",
    ("fit.initialization", "MOST_MOMENTS"): "unit/test_initialization.py",
    ("gradients.repulsion", "SUMMED"): "unit/test_placement_summed.py",
    ("gradients.repulsion", "SUMMED_STEEP"): "unit/test_placement_summed.py",
    ("io.bands", "LARGEST"): "unit/test_large_pieces.py",
    ("neighbors.ivf", "GROUPED"): "unit/test_grouped_centres.py",
    ("neighbors.ivf", "MOST_SAMPLED"): "unit/test_grouped_centres.py",
    ("neighbors.ivf", "ROWS"): "unit/test_grouped_centres.py",
    ("neighbors.resolve", "BITS_FROM"): "unit/test_neighbors_resolve.py",
    ("neighbors.resolve", "IVF_FROM"): "unit/test_neighbors_resolve.py",
    ("neighbors.resolve", "OTHERS_FROM"): "unit/test_neighbors_resolve.py",
    ("novelty", "_BLOCK"): "pipeline/test_strangest.py",
    ("parametric.objectives", "FEWEST_TUNED"): "parametric/test_parametric_tsne.py",
    ("parametric.teaching", "MOST_FITTED"): "parametric/test_parametric_tsne.py",
    ("preprocess.pca", "EXACT_UP_TO"): "unit/test_preprocess.py",
    ("convert.pieces", "BYTES"): "unit/test_convert.py",
    ("convert.pieces", "ROWS"): "unit/test_convert.py",
    ("convert.writing", "CHUNK"): "unit/test_convert.py",
    ("io.files", "MOST_OPEN"): "unit/test_files.py",
    ("io.url_files", "BLOCK"): "unit/test_urls.py",
    ("preprocess.medians", "_LEAST"): "unit/test_missing_filled.py",
    ("preprocess.medians", "_NUMBERS"): "unit/test_missing_filled.py",
    ("preprocess.rows", "_SAMPLE_ROWS"): "unit/test_preprocess.py",
}
# Numbers that cut no work, by what they are.
_OTHERS = {
    "marks, versions and the layout of bits": """
        cli.command._STOPPED
        _kernels.bits.NO_KEY _kernels.knn.NO_KEY neighbors._blocks.NOBODY
        neighbors.folder.TOLD novelty.NoveltyHistogram._SHIFT
        sampling.boxes._BITS sampling.boxes._FINE sampling.boxes._ORIGIN storage.ledger.LEDGER_VERSION
        storage.ranges._MODULUS storage.ranges._ONE
        preprocess.preparation.FORMAT_VERSION storage.manifest.FORMAT_VERSION""",
    "compiled in: widths that are and are not multiples of it are in tests/unit/test_neighbors_exact.py": """
        _kernels.knn.CHUNK""",
    "the most of something that is taken, counted or believed": """
        joint.MOST_ROWS _cells._SHORT _options.MOST _parallel.MOST_MULTIPLYING _parallel.MOST_THREADS
        metrics.agreement._PAIRS
        neighbors._found.MOST_EFFORT neighbors.hnsw.MOST_LINKS neighbors.hnsw.MOST_THREADS
        neighbors.ivf.MOST_LISTS neighbors.saved.MOST_ROWS
        neighbors.scaled.MOST neighbors.distinct.GRAPH_COPIES gradients.grid.MOST_NODES
        parametric.objectives.negative.MOST_NEGATIVES parametric.outset.MOST_DEPTH parametric.outset.MOST_WIDTH
        pipeline.embedding.MOST_ROUNDS plot.labels.MOST_LABELS plot.labels.MOST_WORDS plot.scatter.MOST_POINTS
        plot.labels._NARROW plot.frame._FEWEST preprocess.onehot.MOST_CATEGORIES
        storage.manifest.MOST_AXES storage.manifest.MOST_BYTES
        io.hdf5._CHUNKS_ACROSS io.shared_parts._REPEATED io.shared_parts._NEIGHBOURS
        io.shared_parts._FEW parametric.estimator.FEWEST plot.colors._QUALITATIVE
        neighbors.plausible._ROWS neighbors.plausible._TILE neighbors.plausible._UPPER novelty._LOOKED_AT
        fit.optimize.FEWEST_LEAPING trust.judge.SEEN convert.converting.MOST_FILES convert.converting.MOST_CATEGORIES
        convert.converting._WAITING convert.frames.FIRST convert.rows._FIRST convert.spans.LONGEST
        workers.asking.TRIES workers.by_path.MOST streaming.SENT streaming.MOST_READ""",
    "room, memory and time": """
        _blas.BLAS_BYTES export.h5ad._SLACK export.target._SLACK export.target._CSV_NUMBER
        scratch.plan.PROGRAM scratch.plan.MUTUAL scratch.plan.MAPPED
        pipeline.models.SLACK pipeline.refining._BESIDE refinement.EVERY
        io.reading._FIT_BYTES io.reading._NEIGHBORS batches.batches._MANY_READS
        batches.batches._WORTH_A_WARNING io.hdf5._WORTH_A_WARNING cli.probe._SECONDS streaming.RESULT_BYTES
        workers.pool.ANSWER io.url_files.BLOCKS""",
    "the method's own: another number is another map, sample or encoder": """
        tl.N_PCS fit.copies.CANDIDATES gradients.grid.LEAST_CELLS gradients.grid.WINDOW groups.BESIDE novelty.NEIGHBORS
        neighbors._recall.NEAREST
        refinement.REFERENCE refinement.LATE_ROWS refinement.LATE_MORE
        recipes.WIDE recipes.COMPONENTS recipes.ROWS_PER_NEIGHBOR
        rounds.DIRECTIONS rounds.ROWS_PER_BOX trust.moves.LENGTH_NEIGHBORS trust.moves.LENGTH_ROWS
        pipeline.looking.CHOICE pipeline.neighbors.NEIGHBORS pipeline.embedding.SAMPLE sampling.resolve.SIZE
        sampling.coverage._LOOK neighbors._recall.SAMPLE neighbors.ivf.ROUNDS neighbors.ivf.SAMPLE
        neighbors.centres.LEAST neighbors.centres.MET neighbors.centres.SAMPLE
        neighbors.reach.SAMPLE neighbors.graph.LOOKED_AT preprocess.rows._SAMPLE preprocess.shift.LOOKED_AT
        preprocess.medians._MOST preprocess.missing.DONORS preprocess.missing.NEIGHBORS preprocess.sketch.PASSES
        batches.sizes.BUFFER_BYTES
        batches.sizes._BLOCK_BYTES batches.sizes._BLOCKS_OF_A_BUFFER
        batches.sizes._BLOCKS_OF_A_SORTED_BUFFER parametric.decoder.WAVES
        parametric.estimator.ParametricTSNE.LOOK_EVERY parametric.estimator.STEPS parametric.landmarks.LOOKED_AT_EACH
        parametric.landmarks.MOST parametric.landmarks.MOST_COORDINATES parametric.landmarks.ROUNDS
        parametric.landmarks.ROWS_EACH parametric.landmarks._SHARPENED parametric.network.STEP
        parametric.objectives.field.ENTRIES parametric.outset.LOOKED_AT parametric.outset.LOOKED_AT_BYTES
        parametric.teaching.SAMPLE parametric.validation.HELD_OUT parametric.validation.RECALL
        parametric.validation.REFERENCE""",
    "the last bits of a product change with it, so that it is one number for all": """
        parametric.tiles.TILE preprocess.transformer._LEAST""",
    "how much is shown or looked at": """
        io.identity._PROBES io.told._NAMES parametric.training._NAMED io.overview.COLUMNS io.overview.ROWS
        io.overview._CELLS io.overview._COMPONENTS io.overview._FEW_PLACES io.overview._LARGE io.overview._LINES
        io.overview._LOGARITHMS io.overview._MOST_ROWS io.overview._PLACES io.overview._SPREADS io.overview._WIDE
        cli.forecast.WORTH cli.trials._ROWS cli.trials._QUERIES cli.trials._SEARCHED cli.trials._PLACES
        cli.trials._BATCH cli.trials.BLOCKS cli.forecast_place._FIRST cli.forecast_refine._HASHED
        cli.forecast_refine._ROWS cli.forecast_train._FEW cli.forecast_train._MANY
        plot.beside._LAID_BY plot.frame._LOOKED_AT plot.density.CELLS plot.density.COARSE plot.density._STEPS
        plot.density._NEAR plot.density._CROWD
        plot.legend._COLUMN plot.legend._LETTERS plot.text._LETTERS plot.text._PLACES plot.panels._ACROSS
        plot.rows._RUN
        plot.picture.KEPT plot.animation._ROWS view.page.MOST view.page._CELLS view.page._NAMED view.payload.MOST_KINDS
        view.payload._LETTERS view.stratified._CELLS view.stratified._ROWS_EACH view.stratified._LEAST
        gradients.attraction.ESTIMATED gradients.attraction.RUN fit.history.EVERY fit.history.MOST_NOTES
        report.again._NAMES report.choices._SOON report.classes.MOST_CLASSES report.estimates.GROUPS
        report.faithfulness.COMPARED report.faithfulness.FEWEST report.faithfulness.MOST report.faithfulness.OTHERS
        report.faithfulness.PAIRED report.faithfulness._NUMBERS report.faithfulness.NEAR report.faithfulness.WIDER
        report.faithfulness.AROUND report.figures._WIDTH report.figures._HEIGHT report.figures._LEFT
        report.figures._RIGHT report.figures._TOP report.figures._BOTTOM report.figures._BINS report.pictures._DPI
        report.scores.NAMED report.scores._LOOKED_AT report.several.DRAWN report.several.NAMED report.stays._LABELS
        report.writing._LETTERS""",
}
OTHERS = {_split(name): why for why, names in _OTHERS.items() for name in names.split()}
