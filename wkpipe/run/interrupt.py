"""Signals that stop a command: Ctrl-C, SIGTERM and SIGHUP become one error that unwinds it in order."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from wkpipe.errors import Interrupted
from wkpipe.storage.held_signals import signals_handled_by


@contextlib.contextmanager
def interruptible(message: str) -> Iterator[None]:
    """Turn Ctrl-C, SIGTERM and SIGHUP within the block into `Interrupted` with this message."""

    def interrupt(*_: object) -> None:
        raise Interrupted(message)

    with signals_handled_by(interrupt):
        yield


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Ignore Ctrl-C, SIGTERM and SIGHUP within the block: an impatient user's second Ctrl-C must not leave things half stopped."""
    with signals_handled_by(lambda *_: None):
        yield
