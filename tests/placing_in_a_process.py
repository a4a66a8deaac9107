"""What a worker of a process pool does with a block: places it on a saved map, which it has read once."""

from functools import cache

from tsne_ooc import load


@cache
def model_in(folder):
    return load(folder, n_jobs=1)


def places(folder, first, rows):
    return {"embedding": model_in(folder).transform(rows)}


def placed(model, rows):
    """What a worker does with a model that is sent to it."""
    return model.transform(rows)
