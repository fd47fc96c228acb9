"""Standard streams that never decide over the work: closed, full or with nobody reading, they are at most a warning.

A process may be started with its first descriptors closed. The next file that it opens would get such a number, and
what is printed would go into that file. So the null device takes these places first.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any


class _Stream(io.FileIO):
    """An open descriptor that takes everything; `lost` is why something could not be written, apart from a reader that has gone."""

    lost: OSError | None = None

    def write(self, data: Any) -> int:
        """Write what can be written, and say that it was all."""
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
    """Have ``sys.stdout`` and ``sys.stderr`` take everything; for a process of wkpipe, before it does anything else."""
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


def lost_output() -> str:
    """Return why a part of the standard output was lost; nothing if it was not, or nobody reads it any more."""
    sys.stdout.flush()
    lost = _output[0].lost if _output else None
    return "" if lost is None else lost.strerror or str(lost)
