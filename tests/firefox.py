"""Firefox without a window, spoken to by its own protocol (Marionette): enough to open a page, ask it, and look at it.

The program is found on the PATH, or named by ``TSNE_OOC_FIREFOX``. Where nothing may be installed, Debian's package can
be unpacked: ``apt-get download firefox-esr libvpx7``, ``dpkg -x FILE root`` for each, ``LD_LIBRARY_PATH`` with
``root/usr/lib/x86_64-linux-gnu``, and ``TSNE_OOC_FIREFOX=root/usr/lib/firefox-esr/firefox-esr``.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("firefox-esr", "firefox")
SETTINGS = """
user_pref("marionette.port", 0);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("app.normandy.enabled", false);
user_pref("webgl.force-enabled", true);
"""


def found() -> str | None:
    """The browser's program, if there is one."""
    return os.environ.get("TSNE_OOC_FIREFOX") or next((path for name in NAMES if (path := shutil.which(name))), None)


class Firefox:
    """A page of Firefox, which draws WebGL only where there is a display, such as that of Xvfb, and a driver."""

    def __init__(self, size: tuple[int, int] = (1100, 760)) -> None:
        self._numbers = itertools.count(1)
        self._folder = Path(tempfile.mkdtemp())
        (self._folder / "user.js").write_text(SETTINGS)
        width, height = map(str, size)
        self._process = subprocess.Popen(
            [
                found() or "firefox", *([] if os.environ.get("DISPLAY") else ["--headless"]), "--marionette",
                "--remote-allow-system-access", "--no-remote", "--profile", str(self._folder), "--width", width,
                "--height", height,
            ],
            env={**os.environ, "HOME": str(self._folder), "MOZ_HEADLESS_WIDTH": width, "MOZ_HEADLESS_HEIGHT": height},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            self._socket = socket.create_connection(("127.0.0.1", self._port(60)), 120)
            self._file = self._socket.makefile("rb")
            self._read()
            self._call("WebDriver:NewSession", capabilities={})
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Firefox:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()
        self._socket.close()
        self._end()

    def open(self, page: Path, ready: str, timeout: float = 120) -> None:
        """Open a file, and wait until an expression is true."""
        self._page = page.resolve().as_uri()
        self._call("WebDriver:Navigate", url=self._page)
        until = time.monotonic() + timeout
        while not self.run(f"Boolean({ready})"):
            if time.monotonic() > until:
                raise TimeoutError(f"{page} is not ready after {timeout} s; its console said {self.said()}")
            time.sleep(0.1)

    def run(self, script: str) -> Any:
        """The value of an expression of the page."""
        asked = f"return JSON.stringify({script}) ?? 'null'"
        return json.loads(self._call("WebDriver:ExecuteScript", script=asked, args=[])["value"])

    def screenshot(self, path: Path) -> None:
        """What is to be seen, as a PNG."""
        path.write_bytes(base64.b64decode(self._call("WebDriver:TakeScreenshot", full=False)["value"]))

    def said(self) -> list[str]:
        """Errors and warnings of the page."""
        self._call("Marionette:SetContext", value="chrome")
        script = "return Services.console.getMessageArray().map((one) => one.message)"
        told = self._call("WebDriver:ExecuteScript", script=script, args=[])["value"]
        self._call("Marionette:SetContext", value="content")
        return [line for line in told if self._page in line]

    def _port(self, timeout: float) -> int:
        until = time.monotonic() + timeout
        while time.monotonic() < until and self._process.poll() is None:
            try:
                return int((self._folder / "MarionetteActivePort").read_text())
            except (OSError, ValueError):
                time.sleep(0.1)
        raise RuntimeError(f"{found()} does not begin")

    def _call(self, name: str, **given: Any) -> Any:
        number = next(self._numbers)
        data = json.dumps([0, number, name, given]).encode()
        self._socket.sendall(b"%d:%b" % (len(data), data))
        _, answered, error, result = self._read()
        assert answered == number
        if error:
            raise RuntimeError(f"{name}: {error['message']}")
        return result

    def _read(self) -> Any:
        length = b""
        while (letter := self._file.read(1)) != b":":
            if not letter:
                raise RuntimeError("Firefox has ended")
            length += letter
        return json.loads(self._file.read(int(length)))

    def _end(self) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
