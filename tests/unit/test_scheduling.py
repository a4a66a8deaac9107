"""Each test runs once, whichever processes end: `tests/scheduling.py`."""

from collections import Counter
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("xdist")

from scheduling import Scheduling


class Process:
    """A process of tests, as xdist has them: it runs one only when it knows the next, or that there is none."""

    def __init__(self, number):
        self.gateway = SimpleNamespace(id=f"gw{number}")
        self.waiting, self.shutting_down = [], False

    def send_runtest_some(self, tests):
        assert not self.shutting_down
        self.waiting += tests

    def shutdown(self):
        self.shutting_down = True

    @property
    def idle(self):
        return len(self.waiting) < (1 if self.shutting_down else 2)


def begin(files, processes):
    """A schedule of files with so many tests each, the names of all tests, and the processes at work."""
    tests = [f"tests/{name}.py::test_{i}" for name, count in files.items() for i in range(count)]
    config = SimpleNamespace(getvalue=lambda name: ["popen"] * processes, option=SimpleNamespace(loadscopereorder=True))
    schedule = Scheduling(config, None)
    nodes = [Process(number) for number in range(processes)]
    for node in nodes:
        schedule.add_node(node)
    for node in nodes:
        schedule.add_node_collection(node, tests)
    schedule.schedule()
    return schedule, tests, nodes


@settings(deadline=None, max_examples=300)
@given(
    files=st.dictionaries(
        st.sampled_from(["a", "b", "c", "unit/test_pynndescent_x", "unit/test_extremes", "pipeline/test_faults", "d"]),
        st.integers(1, 6),
        min_size=2,
    ),
    fates=st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=40),
)
def test_each_test_runs_once_though_processes_end_in_some(files, fates):
    """Those in which one ended are told, and are not run again."""
    schedule, tests, nodes = begin(files, 2)
    begun, ended, fates = Counter(), [], iter(fates)
    while True:
        for node in nodes if schedule.tests_finished else []:
            node.shutdown()
        working = [node for node in nodes if not node.idle]
        if not working:
            break
        which, ends = next(fates, (0, False))
        node = working[which % len(working)]
        test = node.waiting.pop(0)
        begun[tests[test]] += 1
        if ends:
            nodes.remove(node)
            ended.append((schedule.remove_node(node), tests[test]))
            nodes.append(Process(len(ended) + 1))
            schedule.add_node(nodes[-1])
            schedule.add_node_collection(nodes[-1], tests)
            schedule.schedule()
        else:
            schedule.mark_test_complete(node, test)
    assert begun == Counter(tests) and all(told == test for told, test in ended)


def test_a_file_stays_on_one_process_and_the_longest_come_first():
    files = {"unit/test_extremes": 2, "short": 30, "long": 600, "unit/test_pynndescent_a": 2, "PyNNDescent_b": 1}
    _, tests, nodes = begin(files, 2)
    first, second = ([tests[test].split("::")[0] for test in node.waiting] for node in nodes)
    assert set(first) == {"tests/unit/test_pynndescent_a.py", "tests/PyNNDescent_b.py"}
    assert set(second) == {"tests/long.py"}


def test_a_process_that_ends_after_all_its_tests_ended_in_none():
    schedule, _, nodes = begin({"a": 1, "b": 1}, 2)
    schedule.mark_test_complete(nodes[0], nodes[0].waiting.pop())
    assert schedule.remove_node(nodes[0]) is None and nodes[0] not in schedule.nodes
    with pytest.raises(KeyError):
        schedule.remove_node(nodes[0])
