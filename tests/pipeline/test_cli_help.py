"""The help of each command ends with examples, and each of them is one that the command takes."""

from __future__ import annotations

import re
import shlex

import pytest

from tsne_ooc.cli.command import parser

COMMANDS = (
    "look", "prepare", "embed", "place", "merge", "train", "neighbors", "plot", "view", "report", "export", "strangest",
    "trust", "info", "demo",
)  # fmt: skip


def help_of(words, capsys):
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([*words, "--help"])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_all_commands_are_here(capsys):
    named = re.findall(r"^    (\w+)(?: |$)", help_of([], capsys), re.MULTILINE)
    assert tuple(named) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_examples(command, capsys):
    text = help_of([command], capsys)
    examples = text.rpartition("\nexamples:\n")[2].splitlines()
    assert len(examples) >= 2
    for example in examples:
        program, *words = shlex.split(example)
        assert program == "tsne-ooc" and words[0] == command and len(example) <= 100
        options = parser().parse_args(words)
        assert options.command == command and options.run


def test_examples_at_the_top_are_taken_too(capsys):
    lines = re.findall(r"^  (tsne-ooc \w+(?: \S+)*)", help_of([], capsys), re.MULTILINE)
    assert len(lines) >= len(COMMANDS)
    for line in lines:
        assert parser().parse_args(shlex.split(line)[1:]).run


def test_the_check_sees_an_option_that_does_not_exist(capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["embed", "cells.h5ad", "--components", "3", "--out", "map"])
    assert "--components" in capsys.readouterr().err
