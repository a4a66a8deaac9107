"""Maps of AnnData under scanpy's names: ``tsne_ooc.tl.tsne(adata)`` takes the place of ``sc.tl.tsne(adata)``.

Neither scanpy nor anndata is imported: only attributes of the AnnData object are used.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from tsne_ooc import __version__
from tsne_ooc._options import counted, whole
from tsne_ooc._random import seed_of
from tsne_ooc._typing import Json, StrPath, TableLike
from tsne_ooc.estimator import TSNE
from tsne_ooc.estimator.loading import load
from tsne_ooc.io import open_source
from tsne_ooc.neighbors import Graph
from tsne_ooc.pipeline.models import folder_of
from tsne_ooc.preprocess import PCA, Preparation

# As in scanpy: a table of more variables than this is brought to this many principal components.
N_PCS = 50


def tsne(
    adata: Any,
    n_pcs: int | None = None,
    *,
    use_rep: str | None = None,
    neighbors_key: str | None = None,
    perplexity: float | None = None,
    metric: str | None = None,
    sample: Any = None,
    key_added: str | None = None,
    random_state: Any = 0,
    rng: Any = None,
    n_jobs: int | None = None,
    save: StrPath | None = None,
    copy: bool = False,
    **options: Any,
) -> Any:
    """Map the cells of an AnnData object, as ``scanpy.tl.tsne`` does.

    An object that is backed by a file, or lazy (`anndata.experimental.read_lazy`), is streamed. Where there are more
    than 50 variables and no ``obsm["X_pca"]``, principal components are computed on the way, block by block.

    Parameters
    ----------
    adata : AnnData
    n_pcs : int, optional
        Principal components, 50 by default; 0 takes ``X`` as it is.
    use_rep : str, optional
        ``"X"`` or the name of a table in ``obsm``. By default ``X`` where it has at most 50 variables, else
        ``obsm["X_pca"]``, else components of ``X``.
    neighbors_key : str, optional
        Take the neighbours that ``scanpy.pp.neighbors`` found and kept under this name (by default it uses
        ``"neighbors"``), and its `use_rep`, `n_pcs` and `metric`, instead of a search.
    perplexity : float, optional
        30 by default; with `neighbors_key` a third of the neighbours that each cell has.
    metric : str, optional
        "euclidean" by default.
    sample : int or object of `tsne_ooc.sampling`, optional
        Fit so many of the cells, and place all others beside them, for data larger than memory. By default all are
        fitted.
    key_added : str, optional
        Name of the table in ``obsm`` and of the entry in ``uns``; by default ``"X_tsne"`` and ``"tsne"``.
    random_state, rng : int or generator
        The same whole number gives the same map, to the bit. Where `rng` is given, `random_state` is not looked at.
    n_jobs : int, optional
        Threads; all cores by default. The map does not depend on it.
    save : path, optional
        A new folder in which the fitted map is kept, for `place` or ``tsne-ooc place``.
    copy : bool
        Return a copy with the map, and leave `adata` as it is.
    **options
        Other options of `tsne_ooc.TSNE`, such as ``exaggeration=4``.

    Returns
    -------
    AnnData or None
        The copy, if one is asked for. ``obsm["X_tsne"]`` holds the places, ``uns["tsne"]["params"]`` what they were
        made with.

    Raises
    ------
    ValueError, TypeError
        For something that `adata` does not have; the message names what it has. Also as `TSNE` raises them.

    Examples
    --------
    >>> tsne_ooc.tl.tsne(adata)  # doctest: +SKIP
    >>> sc.pl.tsne(adata, color="cell_type")  # doctest: +SKIP
    """
    _check(adata, copy)
    graph, known = (None, {}) if neighbors_key is None else _graph(adata, neighbors_key)
    use_rep = known.get("use_rep") if use_rep is None else use_rep
    n_pcs = known.get("n_pcs") if n_pcs is None else whole("n_pcs", n_pcs, least=0)
    metric = metric or str(known.get("metric", "euclidean"))
    if graph is not None:
        if "neighbors" in options:
            raise ValueError("neighbors_key and neighbors both say where neighbours are from; leave one out")
        options["neighbors"] = graph
    if perplexity is None:
        perplexity = 30 if graph is None else graph.k / 3
    table, named, components = _representation(adata, use_rep, n_pcs)
    if components:
        if options.get("prepare") is not None:
            raise ValueError("prepare says what is done to X, and n_pcs too; pass n_pcs=0, or leave prepare out")
        options["prepare"] = Preparation([PCA(components)])
    seed = seed_of(random_state if rng is None else rng)
    model = TSNE(
        perplexity=perplexity, metric=metric, sample=sample, n_jobs=n_jobs, random_state=seed, **options
    )  # fmt: skip
    places = model.fit_transform(table)
    if save is not None:
        model.save(save)
    params: Json = {
        "perplexity": float(perplexity), "metric": metric, "use_rep": named, "random_state": int(seed),
        "tsne_ooc": __version__,
    }  # fmt: skip
    params |= {} if not components else {"n_pcs": components}
    params |= {} if neighbors_key is None else {"neighbors_key": neighbors_key}
    return _written(adata, key_added, places, params, copy)


def place(
    adata: Any,
    model: StrPath | TSNE,
    *,
    use_rep: str | None = None,
    key_added: str | None = None,
    n_jobs: int | None = None,
    copy: bool = False,
) -> Any:
    """Place the cells of another AnnData object on a map.

    Parameters
    ----------
    adata : AnnData
        Where the map was made of ``X``, it must have the variables of the map, in any order.
    model : path or TSNE
        A folder that `tsne` saved, the folder of a run, or a fitted map.
    use_rep : str, optional
        ``"X"``, the default, or the name of a table in ``obsm`` that has the columns which the map was made of, such as
        cells that are projected on the same components.
    key_added : str, optional
        Name of the table in ``obsm`` and of the entry in ``uns``; by default ``"X_tsne"`` and ``"tsne"``.
    n_jobs : int, optional
        Threads; by default as many as the map was fitted with.
    copy : bool
        Return a copy with the places, and leave `adata` as it is.

    Returns
    -------
    AnnData or None
        The copy, if one is asked for. ``obsm["X_tsne"]`` holds the places, ``obs["tsne_novelty"]`` how strange each
        cell is to the map (1 is like the cells of the map), and ``uns["tsne"]["params"]`` the novelty from which on a
        cell is a stranger.

    Raises
    ------
    ValueError, TypeError, OSError
        For a folder that is not a map, and for cells that lack variables of the map; the message names them.
    """
    _check(adata, copy)
    named = str(model) if isinstance(model, str | os.PathLike) else None
    fitted: Any = load(folder_of(model)) if isinstance(model, str | os.PathLike) else model
    if not isinstance(fitted, TSNE):
        raise TypeError(f"model={model!r} is neither a folder nor a fitted TSNE")
    if n_jobs is not None:
        fitted = TSNE.of_map(fitted.map_, **{**fitted.get_params(deep=False), "n_jobs": n_jobs})
    width, rep = fitted.n_features_in_, use_rep or "X"
    table = _table(adata, rep)
    if table.shape[1] != width and not (rep == "X" and fitted.features_.names is not None):
        fitting = [name for name in adata.obsm if getattr(adata.obsm[name], "shape", (0, 0))[1] == width]
        hint = (
            f"; {', '.join(map(repr, fitting))} of obsm has as many: pass use_rep, if its columns are those of the map"
        )
        raise ValueError(
            f"{rep} has {counted(table.shape[1], 'columns')}, and the map was made of "
            f"{width:,}{hint if fitting else ''}"
        )
    placed = fitted.place(table)
    params: Json = {"use_rep": rep, "tsne_ooc": __version__} | ({} if named is None else {"model": named})
    obs = {}
    if placed.novelty is not None:
        obs["novelty"] = placed.novelty
        params["novelty_threshold"] = float(fitted.novelty_threshold_)
    return _written(adata, key_added, placed.embedding, params, copy, **obs)


def _check(adata: Any, copy: bool) -> None:
    """Raise for what cannot be written to, before the work and not behind it."""
    if not (hasattr(adata, "obsm") and hasattr(adata, "uns") and hasattr(adata, "n_vars")):
        raise TypeError(f"a {type(adata).__name__} is not an AnnData object; TSNE takes tables of other kinds")
    if not getattr(adata, "isbacked", False):
        return
    if getattr(adata, "is_view", False):
        raise ValueError(
            "adata is a part of an object that is backed by a file, and takes no map; make it an object of its own: "
            "adata.to_memory(), or adata.copy('part.h5ad')"
        )
    if copy:
        raise ValueError(
            "copy=True needs another file, since adata is backed by one; leave copy out, which changes nothing in the "
            "file, or pass adata.to_memory()"
        )


def _graph(adata: Any, key: str) -> tuple[Graph, Json]:
    """The neighbours that scanpy keeps under a name, and the parameters that it found them with."""
    if key not in adata.uns or "distances_key" not in adata.uns[key]:
        have = [name for name in adata.uns if "distances_key" in _entries(adata.uns[name])]
        raise ValueError(
            f"uns has no neighbours {key!r}; it has {', '.join(map(repr, have)) or 'none'}: scanpy.pp.neighbors finds "
            "them"
        )
    entry = adata.uns[key]
    params = dict(entry.get("params", {}))
    distances = adata.obsp[entry["distances_key"]]
    if hasattr(distances, "compute"):
        distances = distances.compute()
    return Graph(distances), {name: params[name] for name in ("use_rep", "n_pcs", "metric") if name in params}


def _entries(entry: Any) -> Any:
    return entry if hasattr(entry, "keys") else {}


def _representation(adata: Any, use_rep: str | None, n_pcs: int | None) -> tuple[TableLike, str, int]:
    """The table that is mapped, what it is called, and how many components are to be made of it; 0 takes it as it is.

    The rules are those of scanpy.
    """
    if use_rep is None and n_pcs != 0 and adata.n_vars > N_PCS:
        if "X_pca" not in adata.obsm:
            return _table(adata, "X"), "X", N_PCS if n_pcs is None else n_pcs
        use_rep, n_pcs = "X_pca", N_PCS if n_pcs is None else n_pcs
        # The table may have fewer than the default; only a number that somebody asked for is refused below.
        n_pcs = min(n_pcs, adata.obsm["X_pca"].shape[1]) if n_pcs == N_PCS else n_pcs
    rep = use_rep or "X"
    table = _table(adata, rep)
    if rep == "X":
        return table, rep, (n_pcs or 0) if use_rep == "X" else 0
    if not n_pcs:
        return table, rep, 0
    if n_pcs > table.shape[1]:
        raise ValueError(f"n_pcs={n_pcs} is more than the {table.shape[1]} of obsm[{rep!r}]; ask for fewer")
    part = adata.obsm[rep]
    part = part.iloc[:, :n_pcs] if hasattr(part, "iloc") else part[:, :n_pcs]
    return part, rep, 0


def _table(adata: Any, rep: str) -> TableLike:
    """``X``, or a table of ``obsm``."""
    if rep == "X":
        # The source keeps the names of the variables, by which cells are taken that are placed later.
        return open_source(adata)
    if rep not in adata.obsm:
        raise ValueError(
            f"obsm has no table {rep!r}; it has {', '.join(map(repr, adata.obsm)) or 'none'}, and there is X"
        )
    return adata.obsm[rep]


def _written(adata: Any, key: str | None, places: Any, params: Json, copy: bool, **obs: Any) -> Any:
    """Put places, parameters and columns of `obs` into an AnnData object, or into a copy of it."""
    into = adata.copy() if copy else adata
    entry = "tsne" if key is None else key
    into.obsm["X_tsne" if key is None else key] = np.asarray(places)
    into.uns[entry] = {"params": params}
    for name, values in obs.items():
        into.obs[f"{entry}_{name}"] = values
    return into if copy else None
