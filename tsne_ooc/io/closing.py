"""`with` for sources: every one has it, whether or not it holds a file."""

from __future__ import annotations

from typing import Self


class Closing:
    """Ends with its ``with`` statement; what holds a file overrides `close`."""

    def close(self) -> None:
        """Let go of the file, where there is one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
