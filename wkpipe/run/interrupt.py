"""Signals that stop a command: Ctrl-C, SIGTERM and SIGHUP become an error that unwinds it in order, and do not disturb that."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from typing import Any, Final

from wkpipe.errors import Interrupted

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def stopping_signals() -> list[signal.Signals]:
    """Return the signals that stop this process: a command under ``nohup`` outlives its terminal."""
    return [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]


@contextlib.contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and SIGHUP within the block into `Interrupted` with this message."""

    def interrupt(*_: object) -> None:
        raise Interrupted(message)

    with _handled(interrupt):
        yield


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP do nothing within the block: an impatient user's second Ctrl-C must not leave things half stopped."""
    with _handled(lambda *_: None):
        yield


@contextlib.contextmanager
def _handled(handler: Callable[..., Any]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in stopping_signals()}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)
