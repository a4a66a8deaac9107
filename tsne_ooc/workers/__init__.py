"""Work that other processes do: an executor is given pieces, and workers open tables and models by their paths."""

from tsne_ooc.workers.by_path import SavedModel, SharedTable, check_version
from tsne_ooc.workers.pool import LocalWorkers, on_cluster

__all__ = ["LocalWorkers", "SavedModel", "SharedTable", "check_version", "on_cluster"]
