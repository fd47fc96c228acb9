"""Signals that stop a command: Ctrl-C and SIGTERM become an error that unwinds it in order."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from wkpipe.errors import Interrupted


@contextlib.contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Turn Ctrl-C and SIGTERM within the block into `Interrupted` with this message."""

    def interrupt(*_: object) -> None:
        raise Interrupted(message)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
