"""A Dask cluster of real processes on the loopback, whose parts can be killed, stopped and begun again."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time


class Cluster:
    """A scheduler and workers, each a process of its own."""

    def __init__(self, folder):
        self.folder, self.processes, self.port, self.address = folder, [], 0, ""
        self.scheduler = self.scheduled()
        self.workers = []

    def began(self, words, said):
        """A process, and what it says once it has begun."""
        log = self.folder / f"log{len(self.processes)}"
        with open(log, "w") as file:
            process = subprocess.Popen([sys.executable, "-m", *words], stderr=file, stdout=file, cwd=self.folder)
        self.processes.append(process)
        until = time.monotonic() + 120
        while not (found := re.search(said, log.read_text())):
            assert process.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.1)
        return process, found

    def scheduled(self):
        words = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard"]
        process, found = self.began([*words, "--no-show"], r"Scheduler at:\s+(tcp://127\.0\.0\.1:(\d+))")
        self.address, self.port = found[1], int(found[2])
        return process

    def add(self, *more):
        words = ["distributed.cli.dask_worker", self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", *more]
        process, _ = self.began([*words, "--local-directory", str(self.folder)], r"Registered to:")
        self.workers.append(process)
        return process

    def restart(self):
        """Kill the scheduler, and begin another one at its address, with as many workers."""
        self.scheduler.kill()
        self.scheduler.wait()
        count = len(self.workers)
        for worker in self.workers:
            worker.kill()
            worker.wait()
        self.workers.clear()
        self.scheduler = self.scheduled()
        for _ in range(count):
            self.add()

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait()
