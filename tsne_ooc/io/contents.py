"""Finding a table within a file of many arrays (HDF5, Zarr), with errors that say what there is."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tsne_ooc._typing import Stored
from tsne_ooc.io.base import check_table, type_of
from tsne_ooc.io.failures import Unreached
from tsne_ooc.io.frames import is_stored_frame, text_of, values_of
from tsne_ooc.io.meant import FieldTable, is_loom, turned_because, wide_fields
from tsne_ooc.io.sparse import sparse_format, sparse_shape


@dataclass(frozen=True)
class Contents:
    """Shapes of all arrays of a file, by name, and the names of those that are tables: of numbers, or of fields."""

    where: str
    shapes: dict[str, Any]
    tables: list[str]
    compound: list[str]

    @classmethod
    def of(cls, where: str, items: Iterable[tuple[str, Any]]) -> Contents:
        """From the names and objects of a file, groups before what they hold; a sparse matrix counts as one array."""
        shapes: dict[str, Any] = {}
        tables: list[str] = []
        compound: list[str] = []
        sparse: list[str] = []
        for name, item in items:
            # MATLAB keeps the cells of its cell arrays under names that begin with this sign.
            if name.startswith("#") or any(name.startswith(f"{group}/") for group in sparse):
                continue
            if is_array(item):
                shapes[name] = item.shape if turned_because(item) is None else item.shape[::-1]
                if _is_table(item):
                    tables.append(name)
                elif is_compound(item):
                    compound.append(name)
                    # These are tables, too, but they are taken only when they are named.
                    shapes |= {f"{name}/{field}": shape for field, shape in wide_fields(item).items()}
            elif is_stored_frame(item) and name not in ("obs", "var"):
                # These are taken only when they are named, too.
                # A damaged one may lack the name of its index; that must not keep anybody from what else there is.
                index = text_of(item.attrs.get("_index"))
                rows = getattr(values_of(item.get(index)), "shape", None) or (0,)
                shapes[name] = (rows[0], len(item.attrs.get("column-order", ())))
            elif sparse_format(item) is not None:
                sparse.append(name)
                shapes[name] = sparse_shape(item) or ()
                tables.append(name)
        return cls(where, shapes, tables, compound)

    def only_table(self) -> str:
        """The name of the one table; records with fields count where there is no other."""
        tables = self.tables or self.compound
        if len(tables) == 1:
            return tables[0]
        if tables:
            raise ValueError(f"{self.where} has {len(tables)} tables, name the one to read: {self._listing(tables)}")
        raise ValueError(f"{self.where} has no two-dimensional numeric dataset; {self._have(list(self.shapes))}")

    def missing(self, dataset: str) -> ValueError:
        names = list(self.shapes)
        near = difflib.get_close_matches(dataset, self.tables, n=1, cutoff=0.5)
        near = near or difflib.get_close_matches(dataset, names, n=1, cutoff=0.5)
        if not near:
            lower = {name.lower(): name for name in names}
            near = [lower[dataset.lower()]] if dataset.lower() in lower else []
        hint = f"did you mean {near[0]!r}? " if near else ""
        return ValueError(f"{self.where} has no dataset {dataset!r}; {hint}{self._have(names)}")

    def is_group(self, dataset: str) -> ValueError:
        prefix = dataset.strip("/") + "/"
        inside = [name for name in self.shapes if name.startswith(prefix) or prefix == "/"]
        have = f"it holds {self._listing(inside)}" if inside else "it holds no datasets"
        return ValueError(f"{dataset!r} of {self.where} is a group, not a dataset; {have}")

    def _have(self, names: list[str]) -> str:
        return f"it has {self._listing(names)}" if names else "it has no datasets at all"

    def _listing(self, names: list[str]) -> str:
        shown = [f"{name} {self.shapes[name]}" for name in names[:10]]
        return ", ".join(shown) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def locate(root: Stored, dataset: str | None, contents: Callable[[], Contents]) -> Stored:
    """The array or sparse group called `dataset` within the group `root`; without a name, the one table there is.

    In a file with AnnData's layout that is ``X``, in one with Loom's ``matrix``, whatever else there is. `contents` is
    called where the answer needs a look at everything.
    """
    if dataset is None:
        if is_array(root) or sparse_format(root) is not None or is_stored_frame(root):
            return root
        dataset = "X" if _is_anndata(root) else "matrix" if is_loom(root) else contents().only_table()
    found = _within(root, dataset)
    if found is None:
        found = _field(root, dataset)
    if found is None:
        raise contents().missing(dataset)
    if not is_array(found) and sparse_format(found) is None and not is_stored_frame(found):
        raise contents().is_group(dataset)
    return found


def _within(root: Stored, name: str) -> Any:
    """What a group holds under a name; None for names that it cannot have, such as ``../X``, too."""
    try:
        return root.get(name)
    except Unreached:
        raise
    except (KeyError, ValueError, OSError):
        return None


def _field(root: Stored, dataset: str) -> FieldTable | None:
    parent, _, field = dataset.rpartition("/")
    item = _within(root, parent) if parent else None
    if item is None or not is_array(item) or not is_compound(item) or field not in wide_fields(item):
        return None
    return FieldTable(item, field)


def is_array(item: Stored) -> bool:
    # This does not ask for the type: some types of HDF5 raise an error instead.
    return hasattr(item, "shape") and not hasattr(item, "keys")


def is_compound(item: Stored) -> bool:
    """Whether an array is a row of records, whose fields can be columns."""
    names = getattr(type_of(item), "names", None)
    return names is not None and set(names) != {"r", "i"} and item.shape is not None and len(item.shape) == 1


def _is_table(array: Any) -> bool:
    if array.attrs.get("MATLAB_class") in ("char", b"char"):
        # These are letters, stored as numbers.
        return False
    try:
        check_table(array, "")
    except (TypeError, ValueError):
        return False
    return True


def _is_anndata(root: Stored) -> bool:
    # Files from before anndata 0.7 do not have this attribute.
    return root.attrs.get("encoding-type") in ("anndata", b"anndata", None) and all(
        name in root for name in ("X", "obs", "var")
    )
