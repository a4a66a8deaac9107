"""Schedules compared on many data sets: divergence, recall, label accuracy, width of the map, seconds.

All schedules of `problems.SCHEDULES` start from the same place with the same affinities. No single figure says which
is best: the divergence rewards maps that are spread thin, recall sees small neighbourhoods only. Look at the pictures
too (--maps keeps the maps, in the order of the data's rows).
"""

from __future__ import annotations

import time
from pathlib import Path

import common
import data_sets
import numpy as np
import problems

from tsne_ooc.schedule import resolve

# The default must end no higher than the 750 iterations of the classic course, and lose no neighbours by it.
HIGHER, FEWER = 0.0, 0.01


def main() -> None:
    parser = common.options(__doc__)
    parser.add_argument("--datasets", nargs="+", choices=list(data_sets.SOURCES), default=list(data_sets.SOURCES))
    parser.add_argument("--moses", help=f"moses_lingo256.h5 ({data_sets.MOSES_PUBLIC}): adds 40,000 of its rows")
    parser.add_argument("--schedules", nargs="+", choices=list(problems.SCHEDULES), default=list(problems.SCHEDULES))
    parser.add_argument("--maps", type=Path, help="folder for the maps, as .npy")
    args = common.parse(parser)
    if args.quick:
        args.datasets, args.schedules = ["pbmc3k", "shuttle"], ["default", "100@20, 150@1 m.9"]
    if args.maps:
        args.maps.mkdir(parents=True, exist_ok=True)
    sets = [data_sets.load(name, args) for name in args.datasets]
    if args.moses:
        sets.append(data_sets.load_moses(args.moses, 2000 if args.quick else 40_000, args))
    rows = []
    for data in sets:
        task = problems.problem(data, args)
        problems.optimise(task, resolve("classic", early_exaggeration_iter=1, n_iter=1), args)
        seconds: dict[str, list[float]] = {name: [] for name in args.schedules}
        results = {}
        for _ in range(args.repeats):
            for name in args.schedules:
                began = time.perf_counter()
                results[name] = problems.optimise(task, problems.SCHEDULES[name], args)
                seconds[name].append(time.perf_counter() - began)
        judged = {}
        for name, result in results.items():
            Y = task.unordered(result.embedding)
            judged[name] = {
                "KL": problems.divergence(task.P, result.embedding, args),
                **problems.quality(data, Y, args),
            }
            common.note(f"{data.name}, {name}: {judged[name]}")
            if args.maps:
                np.save(args.maps / f"{data.name}-{name.replace(' ', '_').replace(',', '')}.npy", Y)
        classic = judged.get("classic")
        for name, q in judged.items():
            goal = ""
            if name == "default" and classic:
                kl = common.judged(q["KL"] - classic["KL"], HIGHER, least=False)
                recall = common.judged(q["r10"] - classic["r10"], -FEWER)
                goal = f"against classic: KL {kl}; r10 {recall}"
            labels = f"{q['labels']:.4f}" if data.y is not None else "-"
            figures = (f"{q['KL']:.4f}", f"{q['r10']:.3f}", f"{q['r50']:.3f}", labels, round(q["width"]))
            middle = float(np.median(seconds[name]))
            rows.append((data.name, name, results[name].iterations, middle, *figures, goal))
    header = ("data", "schedule", "iterations", "s", "KL", "r10", "r50", "label accuracy", "width", "target")
    common.report("Schedules: iterations @ exaggeration, m for momentum (0.8 where not said)", header, rows, args)


if __name__ == "__main__":
    main()
