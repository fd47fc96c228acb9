"""UploadProgress: shows an upload of this process: bytes, rate, time left."""

from __future__ import annotations

from typing import TextIO

from wkpipe.run.amounts import TransferLine
from wkpipe.run.status_line import StatusLine
from wkpipe.server.progress import Progress


class UploadProgress(Progress):
    """Writes to `stream`, by default to stderr; with `is_quiet`, only notices."""

    def __init__(self, is_quiet: bool = False, stream: TextIO | None = None) -> None:
        self._line = StatusLine(stream)
        self._is_quiet = is_quiet
        self._doing = "beginning"
        self._transfer = TransferLine()

    def notice(self, text: str) -> None:
        self._line.say([text])

    def doing(self, text: str) -> None:
        is_new = text.partition(",")[0] != self._doing.partition(",")[0]
        self._doing = text
        if not self._is_quiet and (is_new or self._line.is_due()):
            self._line.show(text)

    def moved(self, done: int, total: int) -> None:
        self._transfer.moved(done)
        if not self._is_quiet and (done == total or self._line.is_due()):
            self._line.show(self._transfer.text(self._doing, done, total))

    def trouble(self, text: str) -> None:
        if not self._is_quiet:
            self._line.say([text])

    def close(self) -> None:
        """End the live line."""
        self._line.clear()
