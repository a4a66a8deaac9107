"""The tutorial: all that it says to run is run, in its order, and prints what stands under it."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text(encoding="utf-8")
SMALL, _, LARGE = PAGE.partition("## A larger map: MNIST\n")
# Seconds, rows a second, and how far it is after some seconds: those of the machine. Where the last digits of a map are
# others, so may be the number of rows beyond a threshold.
TIMES = (
    r"\d[\d.,]* (?=s\b)|\d[\d.,]* (?=rows/s)|^[a-z ]+: [^\n]* left, [^\n]*\n|\d+ (?=rows? \(\d)|, \d+ (?=\()|"
    r"(?<=^strangest rows: ).*(?=; more)"
)
# Fractions may have other last digits on another processor.
FRACTIONS = r"\b\d+\.\d+"


def steps(part):
    """Language, code and the output that is shown, of each block that can be run."""
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
    for at, (language, code) in enumerate(blocks):
        if language == "text" or "venv" in code:
            continue
        following = blocks[at + 1] if at + 1 < len(blocks) else ("", "")
        yield language, code, following[1] if following[0] == "text" else ""


def run(language, code, names):
    if language == "python":
        with contextlib.redirect_stdout(io.StringIO()) as told:
            exec(compile(code, "tutorial.md", "exec"), names)
        return told.getvalue()
    program, *words = shlex.split(code)
    assert program == "tsne-ooc"
    command = [sys.executable, "-m", "tsne_ooc.cli", *words]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


def differences(shown, told):
    """What is wrong with an output; nothing where only times differ, and fractions by a hundredth."""
    plain = [re.sub(FRACTIONS, "#", re.sub(TIMES, "", text, flags=re.MULTILINE)) for text in (shown, told)]
    if plain[0] != plain[1]:
        return f"the page shows\n{shown}\nand it is\n{told}"
    numbers = [
        [float(found) for found in re.findall(FRACTIONS, re.sub(TIMES, "", text, flags=re.MULTILINE))]
        for text in (shown, told)
    ]
    return [pair for pair in zip(*numbers, strict=True) if abs(pair[0] - pair[1]) > 0.01 * max(1, pair[0])]


def follow(part, names):
    count = 0
    for language, code, shown in steps(part):
        assert not differences(shown, run(language, code, names)), code
        count += 1
    return count


def test_the_first_map(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert follow(SMALL, {}) == 7


@pytest.mark.slow
def test_the_larger_map(tmp_path, monkeypatch, data_folder):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist.npz").symlink_to((data_folder / "mnist.npz").resolve())
    assert follow(LARGE, {}) == 3
    assert (tmp_path / "mnist.png").stat().st_size > 10_000


def test_the_comparison_itself():
    assert not differences("fitted 600 rows in 1.6 s, KL 0.506\n", "fitted 600 rows in 12.1 s, KL 0.507\n")
    assert not differences("read 1,797 rows in 0.1 s (14,492 rows/s)", "read 1,797 rows in 3 s (92 rows/s)")
    slow = "placing rows (9 rows)\nplacing rows: 3 of 9 (29%), 1 rows/s, 0:00:56 left, 0.8 GB memory\nnovelty"
    assert not differences("placing rows (9 rows)\nnovelty", slow)
    slow = "fitting the sample (9 rows)\nfitting the sample: iteration 2 of 240, 0:01:00 left, 0.8 GB memory\nfitted"
    assert not differences("fitting the sample (9 rows)\nfitted", slow)
    assert differences("KL 0.506", "KL 0.606")
    assert differences("fitted 600 rows", "fitted 601 rows")
    assert differences("True\n", "False\n") and differences("True\n", "")
