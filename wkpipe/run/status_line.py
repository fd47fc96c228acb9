"""StatusLine: one line of progress. On a terminal it is updated in place; elsewhere plain lines come every ten seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from typing import TextIO

LIVE_SECONDS = 0.5
PLAIN_SECONDS = 10.0


class StatusLine:
    """Writes to `stream`, by default to stderr."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._is_live = self._stream.isatty()
        self._is_open = False
        # The first plain line waits, because nothing can be done yet.
        self._shown = 0.0 if self._is_live else time.monotonic()

    @property
    def is_live(self) -> bool:
        return self._is_live

    def is_due(self) -> bool:
        """True if the time for the next line has come."""
        return time.monotonic() - self._shown >= (LIVE_SECONDS if self._is_live else PLAIN_SECONDS)

    def show(self, line: str) -> None:
        """Show a line now, in place of the live one."""
        self._shown = time.monotonic()
        self._is_open = self._is_live
        self._write(f"\r\x1b[K{line}" if self._is_live else f"{line}\n")

    def say(self, notices: Iterable[str]) -> None:
        """Print lines that stay."""
        for notice in notices:
            self.clear()
            self._write(f"wkpipe: {notice}\n")

    def clear(self) -> None:
        """Remove the live line."""
        if self._is_open:
            self._is_open = False
            self._write("\r\x1b[K")

    def close(self) -> None:
        """Keep the live line as a permanent one."""
        if self._is_open:
            self._is_open = False
            self._write("\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
