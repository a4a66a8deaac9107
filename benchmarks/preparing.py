"""CSV becomes Zarr: megabytes of text a second, peak memory, and whether the last tenth is slower than the first.

Files of 100 MB, each 20 columns of numbers with 6 digits and one of words that is left out. `convert` runs in a
process of its own; its progress says when each file was begun, so a tenth is a number of files. The pages that the
system keeps of the text are dropped before, where it allows that.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import common
import numpy as np

COLUMNS, FILE = 20, 100_000_000
RATE, MEMORY, LAST = 100.0, 1000.0, 1.1


def write(folder: Path, size: int, file: int) -> list[Path]:
    """Files of CSV of `size` bytes in all, with the same rows in another order in each."""
    rng = np.random.default_rng(0)
    words = np.array(["alpha", "beta", "gamma"])
    numbers = rng.normal(0, 100, (20_000, COLUMNS))
    lines = [
        ",".join([f"{number:.6g}" for number in row] + [words[i % 3]]) + "\n" for i, row in enumerate(numbers.tolist())
    ]
    head = ",".join([f"c{j}" for j in range(COLUMNS)] + ["word"]) + "\n"
    files = []
    for number in range(max(1, round(size / file))):
        text = "".join(lines[i] for i in rng.permutation(len(lines))).encode()
        files.append(folder / f"part-{number:04}.csv")
        with open(files[-1], "wb") as out:
            out.write(head.encode())
            for _ in range(max(1, round(file / len(text)))):
                out.write(text)
            out.flush()
            os.fsync(out.fileno())
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(out.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return files


def child(args) -> None:
    """Convert in this process; print times and the peak as JSON."""
    from tsne_ooc.convert import convert

    times: list[tuple[int, float]] = []

    def progress(what: str, done: int, whole: int) -> None:
        if not times or done > times[-1][0]:
            times.append((done, time.perf_counter()))

    began, processor = time.perf_counter(), time.process_time()
    out = Path(args.child).parent / "out"
    told = convert(args.child, out, format=args.format, progress=progress)
    seconds, processor = time.perf_counter() - began, time.process_time() - processor
    written = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    print(json.dumps({"seconds": seconds, "peak": common.peak_bytes(), "times": times, "rows": told["written"],
                      "written": written, "processor": processor}))  # fmt: skip


def main() -> None:
    parser = common.options(__doc__, data=False, repeats=False)
    parser.add_argument("--gigabytes", nargs="+", type=float, default=[2.0, 10.0], help="of text (default 2 and 10)")
    parser.add_argument("--format", default="zarr", choices=("zarr", "h5"))
    parser.add_argument("--child", help="for the script itself: convert this folder")
    args = common.parse(parser)
    if args.child:
        child(args)
        return
    file = 1_000_000 if args.quick else FILE
    rows = []
    for size in [0.02] if args.quick else sorted(args.gigabytes):
        home = args.work / "preparing"
        (home / "text").mkdir(parents=True)
        try:
            files = write(home / "text", int(size * 1e9), file)
            whole = sum(path.stat().st_size for path in files)
            answer = common.in_child(__file__, "--child", home / "text", "--format", args.format)
            at = np.array(answer["times"])[:, 1]
            # The first piece also loads the libraries, and a tenth begins where a file does.
            tenth = max(1, len(files) // 10)
            first, last = at[tenth] - at[0], at[-1] - at[-1 - tenth]
            rate, peak = whole / 1e6 / answer["seconds"], answer["peak"] / 1e6
            rows.append((
                f"{whole / 1e9:.2f}", answer["rows"], f"{answer['seconds']:.1f}", f"{answer['processor']:.1f}",
                f"{rate:.0f}",
                common.judged(rate, RATE), f"{peak:.0f}", common.judged(peak, MEMORY, least=False),
                f"{last / first:.2f}", common.judged(last / first, LAST, least=False),
            ))  # fmt: skip
        finally:
            shutil.rmtree(home)
    header = (
        "GB of CSV",
        "rows",
        "seconds",
        "of the processor",
        "MB/s",
        "target",
        "peak MB",
        "target",
        "last tenth / first",
        "target",
    )
    common.report(f"CSV to {args.format}", header, rows, args)


if __name__ == "__main__":
    main()
