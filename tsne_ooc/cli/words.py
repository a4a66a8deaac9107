"""Words that are typed and not known: the answer is the word that is meant, here or in another program."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Iterable
from typing import Any, NoReturn

from tsne_ooc._elsewhere import ENCODER, ENCODERS_OWN, MAP

#: Parameters that have another name on the command line.
OPTIONS = {
    "n_iter": "iterations",
    "random_state": "seed",
    "n_jobs": "jobs",
    "size": "sample",
    "total": "normalize",
}

_SEVERAL = "--affinity multiscale joins a perplexity and ten times as much"


class Parser(argparse.ArgumentParser):
    """Prints one line for arguments that cannot be read, where argparse prints its summary of all options first.

    It looks for unknown words before argparse says what is missing, since a misspelt option is more often the reason.
    Options are typed in full: what --refi stands for would change with the next option that there is.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "allow_abbrev": False})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = [str(word) for word in (sys.argv[1:] if args is None else args)]
        commands = next((one.choices for one in self._actions if isinstance(one, argparse._SubParsersAction)), None)
        unknown: list[str] = []
        for word in words:
            if commands is not None and not word.startswith("-"):
                if word not in commands:
                    self.error(f"there is no command {word!r}; {_nearest(word, commands)}")
                break
            if word == "--":
                break
            name = word.partition("=")[0]
            # Numbers below 0 look like options.
            if re.match(r"-{1,2}[A-Za-z]", word) and name not in self._option_string_actions:
                unknown.append(f"option {name}; {self._meant(name)}")
        if unknown:
            self.error(f"{self.prog} has no {', and no '.join(unknown)}")
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"^argument ", "", message)
        message = re.sub(r"invalid int value: (.*)", r"\1 is not a whole number", message)
        message = re.sub(r"invalid float value: (.*)", r"\1 is not a number", message)
        message = re.sub(r"(--perplexity: '.*,.*') is not a number", rf"\1 is several; {_SEVERAL}", message)
        message = re.sub(r"^the following arguments are required: (.*)", r"\1 is missing", message)
        self.exit(2, f"tsne-ooc: error: {message}; see {self.prog} --help\n")

    def _meant(self, typed: str) -> str:
        """What may be meant by an option that does not exist."""
        word = typed.lstrip("-").replace("-", "_")
        dests = {one.dest for one in self._actions}
        if "perplexity" not in dests:
            return _nearest(typed, self._option_string_actions)
        encoding = "objective" in dests
        tables = (ENCODER, MAP) if encoding else (MAP, ENCODER)
        table = next((one for one in tables if word in one), None)
        here = None if table is None else table[word]
        if here is not None and not here.ours:
            return here.unit
        ours = word if here is None else here.ours
        name, _, part = ours.partition("=")
        unit = "" if here is None else f", {here.unit}"
        for one in self._actions:
            # What is a part of an option in Python cannot be typed.
            if not part and one.dest in (name, OPTIONS.get(name)) and one.option_strings:
                return f"it is {one.option_strings[0]} here{unit}"
        example = ours if part else f"{ours}=..."
        if table is ENCODER or name in ENCODERS_OWN:
            if encoding:
                return f"that is for Python only: tsne_ooc.pipeline.train(..., encoder=ParametricTSNE({example})){unit}"
            return f"that is an option of encoders, which tsne-ooc train makes{unit}"
        if here is not None or name in _of_maps():
            return f"that is for Python only: tsne_ooc.embed(..., tsne=TSNE({example})){unit}"
        return _nearest(typed, self._option_string_actions)


def _of_maps() -> set[str]:
    from tsne_ooc.estimator import TSNE

    return set(TSNE._get_param_names())


def _nearest(word: str, names: Iterable[str]) -> str:
    known = sorted(name for name in names if name != "-h")
    # One letter behind one dash, as other programs have it, or the beginning of a name.
    begin = f"-{word}" if len(word) == 2 else word
    if begun := [name for name in known if name.startswith(begin)]:
        return f"did you mean {' or '.join(begun)}?"
    if len(word) == 2:
        return f"known: {', '.join(known)}"
    near = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
