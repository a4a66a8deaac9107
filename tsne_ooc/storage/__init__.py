"""Folders of ``.npy`` files and one ``manifest.json``: written whole or not at all, and trusted only when checked.

A folder is what its manifest says. The manifest names every array's file, type, shape, length and SHA-256 sum, and
holds a sum of itself. It is written last, so a folder that has one is whole; files beside it that it does not name are
not read. Nothing in a folder is ever run: arrays are plain numbers (``allow_pickle=False``), the rest is JSON.

Three writers share the format: saved models, steps that become parts of them, and the folders of runs.
"""

from tsne_ooc.storage.manifest import FORMAT_VERSION, MANIFEST, digest_of, kind_of, versions
from tsne_ooc.storage.reading import FolderContent, read_folder
from tsne_ooc.storage.writing import check_target, named_by_content, seal, write_folder

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST",
    "FolderContent",
    "check_target",
    "digest_of",
    "kind_of",
    "named_by_content",
    "read_folder",
    "seal",
    "versions",
    "write_folder",
]
