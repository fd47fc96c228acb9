"""Standard streams that never stop the work: if they are closed or full, or nobody reads them, that is at most a warning.

A process may be started with its first descriptors closed. The next file that it opens would get such a number, and
printed text would go into that file. So the null device takes these numbers first.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any


class _Stream(io.FileIO):
    """An open descriptor that accepts everything; `lost` is why text could not be written, except that the reader has gone."""

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        """Write as much as possible, and return the whole length."""
        whole = memoryview(data).nbytes
        try:
            written = super().write(data)
        except OSError as error:
            if error.errno != errno.EPIPE and self.lost is None:
                self.lost = error
            return whole
        return whole if written is None else written  # None: a pipe that is full and does not wait


_output: list[_Stream] = []


def make_forgiving() -> None:
    """Make ``sys.stdout`` and ``sys.stderr`` accept everything; a process of wkpipe calls this first."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    sys.stdin = sys.stdin or open(os.devnull)  # noqa: SIM115, PTH123
    sys.stdout, sys.stderr = _forgiving(1, sys.stdout), _forgiving(2, sys.stderr)


def _forgiving(descriptor: int, before: Any) -> io.TextIOWrapper:
    stream = _Stream(descriptor, "wb", closefd=False)
    if descriptor == 1:
        _output[:] = [stream]
    encoding = getattr(before, "encoding", None) or "utf-8"
    # A terminal that cannot show × is no reason to stop either.
    is_lively = descriptor == 2 or stream.isatty()
    return io.TextIOWrapper(io.BufferedWriter(stream), encoding, errors="replace", line_buffering=is_lively)


def is_command() -> bool:
    """True if this process was started as a command of wkpipe, not to call wkpipe as a library."""
    return bool(_output)


def lost_output() -> str:
    """Return why a part of the standard output was lost; an empty text if it was not, or if the reader has gone."""
    sys.stdout.flush()
    lost = _output[0].lost if _output else None
    return "" if lost is None else lost.strerror or str(lost)
