"""Which process of tests runs which file, and what becomes of the files of one that ended."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

# Seconds of a processor of files whose tests are few and long. All others take a tenth of a second for each test, or so
# little that it does not matter when they begin.
LONG = {
    "pynndescent": 220, "pipeline/test_options_by_reader.py": 60, "pipeline/test_repeated.py": 60,
    "pipeline/test_dask_embed.py": 50, "pipeline/test_docs_run.py": 50, "unit/test_neighbors_reach.py": 38,
    "pipeline/test_disk_room.py": 35, "pipeline/test_faults.py": 33, "pipeline/test_docs_tutorial.py": 31,
    "pipeline/test_refined_runs.py": 31, "pipeline/test_process_state.py": 25, "parametric/test_train.py": 24,
    "pipeline/test_saved_models.py": 22, "unit/test_extremes.py": 20, "pipeline/test_executors.py": 17,
    "pipeline/test_killed_refinements.py": 15, "unit/test_collection.py": 15, "pipeline/test_dask_cluster.py": 13,
}  # fmt: skip


class Scheduling(LoadFileScheduling):
    """A file stays on one process, and the longest come first, or one process would be left with them at the end. Tests
    of pynndescent share one, for it is compiled anew in each: a minute or two.
    """

    def _split_scope(self, nodeid: str) -> str:
        return "pynndescent" if "pynndescent" in nodeid.lower() else super()._split_scope(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        def seconds(scope: str) -> float:
            return LONG.get(scope.removeprefix("tests/"), len(self.workqueue[scope]) / 10)

        self.workqueue.move_to_end(max(self.workqueue, key=seconds), last=False)
        super()._assign_work_unit(node)

    def _reschedule(self, node: WorkerController) -> None:
        """Give a process as many files as it needs to go on: it runs a test only when it knows the next.

        Of those that come back from one that ended, some are done. Who got such a one, or only a single test, would
        wait for ever.
        """
        super()._reschedule(node)
        while self.workqueue and not node.shutting_down and self._pending_of(self.assigned_work[node]) < 2:
            self._assign_work_unit(node)

    def remove_node(self, node: WorkerController) -> str | None:
        """Forget a process that ended, and give back the test that it was in, if any: it is not run again, or a second
        process would end by it.
        """
        work = self.assigned_work[node]
        within = next((test for file in work.values() for test, over in file.items() if not over), None)
        if within is not None:
            work[self._split_scope(within)][within] = True
        super().remove_node(node)
        return within
