"""What wkpipe's own forked processes do first and last: signals do what they do in a new process, and Python cleans nothing up."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


def restore_signals() -> None:
    """Give the signals their effect in a new process; those that are ignored stay ignored, as under ``nohup``."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Import modules in the block without looking for garbage, and never look at what they leave: a fifth of the time of an import."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def end_now(code: int) -> NoReturn:
    """End this process without the cleaning up of Python, which would take longer than a small job, after what it has printed."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(code & 0xFF)


def is_single_threaded() -> bool:
    """True if this process has one thread: a fork of it has no locks that stay locked."""
    try:
        return len(list(Path("/proc/self/task").iterdir())) == 1
    except OSError:
        return False
