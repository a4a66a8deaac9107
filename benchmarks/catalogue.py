"""All scripts: what each measures, and when its tables were last recorded.

python -m benchmarks list
"""

from __future__ import annotations

import argparse
import ast
import json
import shlex
from pathlib import Path

import records

# What scripts share.
SHARED = {"__init__", "__main__", "common", "data_sets", "problems", "programs", "neural_programs", "records"}


def scripts() -> dict[str, str]:
    """Each script, and the first sentence of what it says of itself."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        if file.stem not in SHARED:
            text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
            found[file.stem] = " ".join(text.split("\n\n")[0].split())
    return found


def recorded() -> dict[str, list[str]]:
    """For each script its records, newest first, as "date name"."""
    found: dict[str, list[str]] = {}
    for file in records.FOLDER.glob("*.json"):
        record = json.loads(file.read_text(encoding="utf-8"))
        script = next((Path(word).stem for word in shlex.split(record["command"]) if word.endswith(".py")), "")
        found.setdefault(script, []).append(f"{record['date']} {file.stem}")
    return {script: sorted(names, reverse=True) for script, names in found.items()}


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    last = recorded()
    for name, text in scripts().items():
        print(f"{name}: {text}")
        for record in last.get(name, []):
            print(f"    recorded {record}")
