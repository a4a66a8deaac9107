"""A server of HTTP for files of a folder, which gives parts of them, and which breaks as a test says."""

from __future__ import annotations

import gc
import hashlib
import os
import re
import threading
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit


class Asked(NamedTuple):
    """What a client asks for: a part of a file, and which of the requests for the contents of files it is."""

    path: str
    start: int
    stop: int
    number: int


class FileServer(ThreadingHTTPServer):
    """Serves a folder at `url`, and does not list what is in it.

    Attributes
    ----------
    fault : callable
        Is asked before each answer; returns None, a status such as 503, "closes" (half of the body, and the connection
        ends), "short" (half of the part, as if it were all of it), "silent" or "whole" (all of the file, whatever is
        asked for).
    asked : list of Asked
    """

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder, self.url = Path(folder), f"http://127.0.0.1:{self.server_address[1]}"
        self.fault: Callable[[Asked], int | str | None] = lambda asked: None
        self.asked: list[Asked] = []
        self.ended = threading.Event()

    def __enter__(self) -> FileServer:
        # HDF5 reads under a lock of h5py. A thread of this server would wait for it if it happened to collect a cycle
        # with an object of h5py in it; all other servers are in other processes.
        gc.disable()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        gc.enable()
        self.ended.set()
        self.shutdown()
        self.server_close()

    def url_of(self, path: Path) -> str:
        return f"{self.url}/{path.relative_to(self.folder).as_posix()}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is none."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FileServer

    def log_message(self, *message: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _status(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _answer(self, *, body: bool) -> None:
        path = self.server.folder / unquote(urlsplit(self.path).path).lstrip("/")
        if not path.is_file():
            return self._status(404)
        data = path.read_bytes()
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, stop = (int(part[1]), min(len(data), int(part[2] or len(data)) + 1)) if part else (0, len(data))
        if last := re.fullmatch(r"bytes=-(\d+)", self.headers.get("Range", "")):
            part, start = last, max(0, len(data) - int(last[1]))
        fault = None
        if body:
            asked = Asked(path.name, start, stop, len(self.server.asked))
            self.server.asked.append(asked)
            fault = self.server.fault(asked)
        if fault == "silent":
            self.server.ended.wait(20)
            return None
        if isinstance(fault, int):
            return self._status(fault)
        if fault == "whole":
            part, start, stop = None, 0, len(data)
        found = data[start:stop]
        sent = found[: len(found) // 2] if fault in ("short", "closes") else found
        facts = os.stat(path)
        self.send_response(206 if part else 200)
        self.send_header("Content-Length", str(len(sent if fault == "short" else found)))
        self.send_header("ETag", f'"{hashlib.md5(data + str(facts.st_mtime_ns).encode()).hexdigest()}"')
        self.send_header("Last-Modified", formatdate(facts.st_mtime, usegmt=True))
        if part:
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(data)}")
        self.end_headers()
        if body:
            self.wfile.write(sent)
        if fault == "closes":
            self.close_connection = True
        return None
