"""Seconds until our divergence is no higher than the one openTSNE ends its 750 iterations at.

Each of our schedules first runs with a callback at every fifth iteration, which finds the first look at which the
divergence is low enough; then it is timed up to there, without the looks in between. It must still have its whole
course before it, for the ramps of a schedule depend on their length, so it is stopped and not cut short. The
divergence of the map it stops at is computed by the function that judged openTSNE's map, with the exact Z; where that
is still higher, it goes on to the next look.
"""

from __future__ import annotations

import common
import data_sets
import numpy as np
import problems
from common import Program

from tsne_ooc.fit.watch import Watch
from tsne_ooc.schedule import Schedule

FASTER = 25.0
LOOK = 5
VARIANTS = ("default", "classic", "100@12, 200@1 m.9", "100@12, 300@1 m.9", "75@12, 150@1 m.9", "100@12, 150@1 m.93")


def stop_at(iteration: int) -> Watch:
    """Ends the loop after this iteration; costs one look at the divergence."""
    return Watch([lambda *_: True], every=iteration)


def first_below(task: problems.Problem, schedule: Schedule, target: float, args) -> tuple[int | None, float]:
    """The iteration of the first look with a divergence of at most `target` (None: none), and the lowest seen."""
    seen: list[tuple[int, float]] = []

    def look(iteration: int, error: float, Y: np.ndarray) -> bool:
        # Under exaggeration the divergence is far higher: the exact sum of all pairs is kept for maps that may do.
        seen.append((iteration, error))
        return error <= 1.002 * target and problems.divergence(task.P, Y, args) <= target

    result = problems.optimise(task, schedule, args, Watch([look], every=LOOK))
    lowest = min([error for _, error in seen], default=np.inf)
    return (seen[-1][0] if result.stopped == "callback" else None), lowest


def main() -> None:
    parser = common.options(__doc__)
    parser.add_argument("--datasets", nargs="+", choices=("mnist", "fashion_mnist"), default=["mnist", "fashion_mnist"])
    parser.add_argument("--schedules", nargs="+", choices=list(problems.SCHEDULES), default=list(VARIANTS))
    args = common.parse(parser)
    if args.quick:
        args.datasets, args.schedules = args.datasets[:1], args.schedules[:1]
    rows = []
    for name in args.datasets:
        task = problems.problem(data_sets.load(name, args), args)
        early, late = (20, 30) if args.quick else (250, 500)
        programs = {
            "openTSNE": Program(
                lambda embedding, early=early, late=late: problems.peer_optimise(embedding, early, late),
                lambda task=task: problems.peer_embedding(task.P, task.start, args),
            )
        }
        # One run of openTSNE says how low to go; its repeats are timed in turn with ours.
        common.note(f"{name}: openTSNE, for its divergence")
        peer = programs["openTSNE"].run(programs["openTSNE"].prepare())
        target = problems.divergence(task.P, peer, args)
        reached = {}
        for label in args.schedules:
            reached[label], lowest = first_below(task, problems.SCHEDULES[label], target, args)
            common.note(f"{label}: iteration {reached[label]} for {target:.4f}, lowest seen {lowest:.4f}")
            if reached[label] is not None:
                programs[label] = lambda task=task, label=label, at=reached[label]: problems.optimise(
                    task, problems.SCHEDULES[label], args, stop_at(at)
                )
            programs[f"{label}, to its end"] = lambda task=task, label=label: problems.optimise(
                task, problems.SCHEDULES[label], args
            )
        runs = common.alternate(programs, args.repeats)
        base = runs["openTSNE"].median
        rows.append((name, "openTSNE", early + late, base, f"{target:.4f}", "", ""))
        for label in args.schedules:
            for run in (label, f"{label}, to its end"):
                if run not in runs:
                    rows.append((name, f"{run}: never so low", "-", "-", "-", "-", "missed"))
                    continue
                result, ratio = runs[run].result, base / runs[run].median
                kl = problems.divergence(task.P, result.embedding, args)
                goal = common.judged(ratio, FASTER) if label == "default" and run == label else ""
                rows.append((name, run, result.iterations, runs[run].median, f"{kl:.4f}", ratio, goal))
    header = ("data", "program or schedule", "iterations", "s", "KL (exact Z)", "openTSNE's time / this", "target")
    common.report("Time to the divergence that openTSNE ends at", header, rows, args)


if __name__ == "__main__":
    main()
