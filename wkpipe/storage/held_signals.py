"""Signals that stop a process: other handlers for a while, and held back while it commits, so that Ctrl-C loses nothing complete."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

from wkpipe.storage.process import stopping_signals


@contextlib.contextmanager
def signals_handled_by(handler: Callable[..., Any]) -> Iterator[None]:
    """Have Ctrl-C, SIGTERM and SIGHUP call another handler within the block; in the main thread only."""
    # None: code in C has set the handler, which could not be given back.
    before = {number: signal.signal(number, handler) for number in stopping_signals() if signal.getsignal(number) is not None}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP take effect when the block has ended; they interrupt only the main thread.

    A signal handler of Python runs in the main thread, whichever thread the system has given the signal to. So a handler that takes a
    note is what holds a signal back, and a mask is not.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    try:
        with signals_handled_by(lambda number, _: received.append(number)):
            yield
    finally:
        if received:
            signal.raise_signal(received[0])
