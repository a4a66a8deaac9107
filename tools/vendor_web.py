"""Fetch the JavaScript that ``tsne-ooc view`` builds its pages on, from the npm registry.

``python tools/vendor_web.py`` renews what is in ``tsne_ooc/view/web/vendor``: minified files as their makers published
them, their licences, and ``versions.json`` with versions, addresses and sums. To take newer ones, change ``PACKAGES``.
The registry's own sum (SHA-512) of each package is compared before anything is written.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import tarfile
import urllib.request
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "tsne_ooc" / "view" / "web" / "vendor"
# Name, version, and the file within it.
PACKAGES = (
    ("regl", "2.1.1", "dist/regl.min.js"),
    ("pub-sub-es", "3.0.0", "dist/index.js"),
    ("regl-scatterplot", "1.16.0", "dist/regl-scatterplot.min.js"),
)
# Parts that regl-scatterplot's file has in it, whose licences want to be there, too.
WITHIN = (
    ("@flekschas/utils", "0.33.0"),
    ("dom-2d-camera", "2.2.6"),
    ("camera-2d-simple", "3.0.0"),
    ("earcut", "3.0.2"),
    ("gl-matrix", "3.4.4"),
    ("regl-line", "1.1.1"),
    ("kdbush", "4.0.2"),
)


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()


def package(name: str, version: str) -> tuple[dict, dict[str, bytes]]:
    """What the registry says of a package, and its files."""
    told = json.loads(fetch(f"https://registry.npmjs.org/{name.replace('/', '%2f')}/{version}"))
    data = fetch(told["dist"]["tarball"])
    kind, _, digest = told["dist"]["integrity"].partition("-")
    if base64.b64encode(hashlib.new(kind, data).digest()).decode() != digest:
        raise ValueError(f"{name} {version}: the sum is not that of the registry")
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = {
            member.name.partition("/")[2]: archive.extractfile(member).read() for member in archive if member.isfile()
        }
    return told, files


def plain_script(text: str) -> str:
    """A module of one file as a script that sets a global name."""
    text, times = re.subn(r"^export .*$", "", text, flags=re.MULTILINE)
    if times != 2 or "import " in text:
        raise ValueError("pub-sub-es is built otherwise now; look at it")
    return f"(function () {{\n{text.strip()}\nglobalThis.createPubSub = createPubSub;\n}})();\n"


def licence_of(files: dict[str, bytes]) -> str | None:
    found = next((name for name in files if re.fullmatch(r"licen[cs]e(\.\w+)?", name, re.IGNORECASE)), None)
    return None if found is None else files[found].decode("utf-8").strip()


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    versions, licences = [], []
    for name, version, file in PACKAGES:
        told, files = package(name, version)
        text = files[file].decode("utf-8")
        if name == "pub-sub-es":
            text = plain_script(text)
        if "</script" in text.lower():
            raise ValueError(f"{name} would end the script that it is in")
        target = FOLDER / f"{name}.js"
        target.write_text(text, encoding="utf-8")
        versions.append({
            "name": name, "version": version, "licence": told["license"], "from": told["dist"]["tarball"],
            "integrity": told["dist"]["integrity"], "file": target.name,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
        })  # fmt: skip
        licences.append((f"{name} {version}", licence_of(files)))
    for name, version in WITHIN:
        told, files = package(name, version)
        words = licence_of(files) or f"{told['license']}, as its package.json says; it comes without a text."
        licences.append((f"{name} {version}, within regl-scatterplot", words))
    (FOLDER / "versions.json").write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
    text = "\n\n\n".join(f"{name}\n{'-' * len(name)}\n\n{words}" for name, words in licences)
    (FOLDER / "LICENSES.txt").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
