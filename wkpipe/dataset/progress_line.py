"""ProgressLine: how many of many calls are done, as one line on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Final, Self

_SECONDS_ON_TERMINAL: Final = 0.1
_SECONDS_IN_LOG: Final = 30.0


class ProgressLine:
    """Show ``TEXT: 3 of 8`` on stderr; a terminal shows one line that changes, a log a new line every 30 seconds.

    A text of None shows nothing.
    """

    def __init__(self, text: str | None, total: int) -> None:
        self._text = text
        self._total = total
        self._done = 0
        self._is_terminal = sys.stderr.isatty()
        self._shown = -1
        self._next = 0.0

    def advance(self) -> None:
        """Count one more call as done."""
        self._done += 1
        now = time.monotonic()
        if now >= self._next:
            self._next = now + (_SECONDS_ON_TERMINAL if self._is_terminal else _SECONDS_IN_LOG)
            self._show()

    def _show(self) -> None:
        if self._text is None or self._shown == self._done:
            return
        self._shown = self._done
        line = f"{self._text}: {self._done} of {self._total}"
        print(f"\r{line}\x1b[K" if self._is_terminal else line, end="" if self._is_terminal else "\n", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._show()
        if self._is_terminal and self._text is not None:
            print(file=sys.stderr)
