"""How a run ends: its manifest is written, which makes its folder a whole one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from tsne_ooc import storage
from tsne_ooc.io.files import FilesSource
from tsne_ooc.io.told import account_of
from tsne_ooc.pipeline.folder import Folder
from tsne_ooc.pipeline.request import differences
from tsne_ooc.pipeline.run import KIND, Run, open_run
from tsne_ooc.stages import RunStage, Work


class Seal(RunStage):
    """Writes the manifest, with all arrays that the run made.

    Parameters
    ----------
    home : Folder
    job : dict
    told : callable
        ``told(work)`` gives entries of the manifest beside those that every run has.
    then : sequence of RunStage
        Stages of the user's, whose facts are told under "then".
    """

    name = "seal"

    def __init__(
        self, home: Folder, job: dict[str, Any], told: Callable[[Work], dict[str, Any]], then: Sequence[RunStage] = ()
    ) -> None:
        self.home, self.job, self.told, self.then = home, job, told, then

    def run(self, work: Work) -> None:
        home = self.home
        content = {
            "task": self.job["task"],
            "source": repr(work.table),
            "read": account_of(work.table),
            **({"files": work.table.rows_of_files()} if isinstance(work.table, FilesSource) else {}),
            **self.told(work),
            **({"then": {stage.name: work.facts.get(stage.name) for stage in self.then}} if self.then else {}),
            "seconds": work.seconds,
            "memory_gb": work.memory,
            "job": self.job,
        }
        arrays = [name for name in home.makes if name.endswith(".npy") and (home.path / name).exists()]
        try:
            storage.seal(home.path, KIND, content, {name.removesuffix(".npy"): name for name in arrays})
        except OSError as error:
            raise type(error)(f"{home.path} could not be written: {error.strerror or error}") from error


def finished(home: Folder, job: dict[str, Any]) -> Run:
    """The run that the folder already holds, if it is the one that is asked for."""
    run = open_run(home.path)
    found = differences(run.manifest.get("job", {}), json.loads(json.dumps(job)))
    if found:
        raise ValueError(f"{home.path} holds the result of another run: {'; '.join(found)}; name a new folder")
    return run
