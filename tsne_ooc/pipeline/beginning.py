"""How a run begins: the job, which a later attempt compares with its own, and what the stages of the run share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from tsne_ooc import __version__, storage
from tsne_ooc._typing import Progress
from tsne_ooc.io import Source, identity
from tsne_ooc.pipeline.folder import Folder
from tsne_ooc.pipeline.request import differences, plain, warn_untold
from tsne_ooc.pipeline.run import LEDGER
from tsne_ooc.stages import Kept, RunStage, Work
from tsne_ooc.streaming import begin


def job_of(task: str, table: Source, home: Folder, request: Mapping[str, Any]) -> dict[str, Any]:
    """All that tells a run from another one, and the names of what it makes."""
    origin = identity.identity_of(table, without=home.path)
    return {"task": task, "source": origin, "request": request, "tsne_ooc": __version__, "makes": home.makes}


def begun(
    job: dict[str, Any],
    table: Source,
    home: Folder,
    *,
    resume: bool,
    progress: Progress | None,
    seed: int = 0,
    block_rows: int | None = None,
    executor: Executor | None = None,
) -> Work:
    """What the stages of a run share, with the ledger of an earlier attempt, or a new one."""
    ledger = begin(home.path / LEDGER, job, resume=resume, differ=differences)
    warn_untold(job)
    kept = Kept(home, ledger, job["source"])
    return Work(table, progress=progress, seed=seed, block_rows=block_rows, kept=kept, executor=executor)


def check_executor(executor: Any) -> None:
    """Raise TypeError for an object that is not an executor."""
    if executor is None or isinstance(executor, Executor):
        return
    known = {"Client": "pass client.get_executor()", "Pool": "pass a concurrent.futures.ProcessPoolExecutor"}
    hint = known.get(type(executor).__name__, "pass a concurrent.futures.ProcessPoolExecutor, or leave it out")
    raise TypeError(f"executor={executor!r} is not a concurrent.futures.Executor; {hint}")


def own_stages(then: Any) -> list[RunStage]:
    """The user's own stages as a list.

    Raises
    ------
    TypeError
        For an object that is not a stage.
    """
    stages = list(then) if isinstance(then, list | tuple) else [then]
    for stage in stages:
        if not isinstance(stage, RunStage):
            raise TypeError(f"then={stage!r} is not a tsne_ooc.stages.RunStage object")
    return stages


def check_made(then: Sequence[RunStage], stages: Sequence[RunStage]) -> None:
    """Raise ValueError where a stage of the user's would write outside the folder, or over what another one makes."""
    for stage in then:
        others = {name: other.name for other in stages if other.name != stage.name for name in other.makes}
        others |= {storage.MANIFEST: "seal", LEDGER: "the driver"}
        # Where a run fails, what its stages make is removed, so that it has to be in the run's folder.
        if odd := [name for name in stage.makes if name.startswith(".") or Path(name).name != name]:
            raise ValueError(f"stage {stage.name!r} makes {odd[0]!r}, which is not the plain name of a file")
        if taken := [name for name in stage.makes if name in others]:
            raise ValueError(
                f"stage {stage.name!r} makes {taken[0]}, and so does {others[taken[0]]!r}; give its file another name"
            )


def told_of(then: Sequence[RunStage]) -> dict[str, Any]:
    """What the user's stages are, as an entry of a request."""
    return {"then": [plain(stage) for stage in then]} if then else {}


def made_by(stages: Sequence[RunStage]) -> list[str]:
    """The names of what stages make in the folder of a run."""
    return [name for stage in stages for name in stage.makes]


def room_of(stages: Sequence[RunStage], table: Source) -> int:
    """Bytes that stages take on the disk."""
    return sum(stage.room(table) for stage in stages)
