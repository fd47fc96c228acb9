"""The identity of a process, so that others can check later if it still runs; its end with its parent; and why one stopped, in words."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import hashlib
import os
import resource
import signal
import socket
from pathlib import Path
from typing import Final

STOPPING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

ONLY_ONE_VARIABLE: Final = "WKPIPE_ONLY_ONE"
"""The environment variable with the name of a main process of which a cluster runs one at a time: it starts the next one when the last
one has ended. It stands for the host name, so that a process knows what its predecessors held."""


_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h


def end_with_parent(parent: int, number: signal.Signals = signal.SIGTERM) -> None:
    """Have Linux send a signal to this (new) process when its parent dies, however that happens."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


def stopping_signals() -> list[signal.Signals]:
    """Return the signals that stop this process; under ``nohup``, SIGHUP is not one of them."""
    return [number for number in STOPPING if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]


@functools.lru_cache(maxsize=1)
def this_system() -> tuple[str, str, str]:
    """Return host name, machine id and boot id; an id is empty if the system has none."""
    return only_one() or socket.gethostname(), _first_line("/etc/machine-id"), _first_line("/proc/sys/kernel/random/boot_id")


def only_one() -> str:
    """Return the name of the main process to which this process belongs, if a cluster runs one at a time; else an empty text."""
    return os.environ.get(ONLY_ONE_VARIABLE, "")


def pid_namespace() -> str:
    """Return the id of this process's pid namespace: containers may share host name and boot id, but number processes differently."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot; -1 for a zombie; None if it is not known."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        return -1 if fields[0] in "ZX" else int(fields[19])
    except (OSError, IndexError, ValueError):
        return None


def is_gone(pid: int, ticks: int) -> bool:
    """True if a process of this system and pid namespace has ended; `ticks` is when it started, 0 if unknown."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    now = start_ticks(pid)
    return now is not None and ticks != 0 and now != ticks


def signature() -> str:
    """Return a text for file names that is unique to this process: ``<place>-<pid>-<start>``."""
    return _signature(os.getpid())


def is_signature_of_dead(text: str) -> bool:
    """True if a signature is that of a process of this system and pid namespace that has ended."""
    place, _, numbers = text.partition("-")
    pid, _, ticks = numbers.partition("-")
    return place == _place() and pid.isdecimal() and ticks.isdecimal() and is_gone(int(pid), int(ticks))


@functools.lru_cache(maxsize=1)
def _signature(pid: int) -> str:
    return f"{_place()}-{pid}-{start_ticks(pid) or 0}"


def _place() -> str:
    """Return a short name of this boot of this system and its pid namespace."""
    return hashlib.sha256("\0".join((*this_system(), pid_namespace())).encode()).hexdigest()[:12]


def _first_line(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    return ""


def peak_memory() -> int:
    """Return the peak resident memory (bytes) of this process.

    `ru_maxrss` is only the fallback: a process inherits the peak of its parent in it (Linux, getrusage(2)).
    """
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


# -- what stopped a process -----------------------------------------------------------------------------------------


def killed_by(number: int) -> str:
    """Return in words which signal killed a process, and the likely cause.

    >>> killed_by(15)
    'was killed by signal 15 (SIGTERM)'
    """
    try:
        name = f" ({signal.Signals(number).name})"
    except ValueError:
        name = ""
    return f"was killed by signal {number}{name}{', perhaps because of its memory' if number == signal.SIGKILL else ''}"


def limit_reached(error: BaseException) -> str | None:
    """Return in one line the system limit that caused an error, with the fix; None for any other error."""
    if isinstance(error, MemoryError):
        return "out of memory; give the job more, or fewer threads"
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return process_limit()
    if isinstance(error, OSError) and error.errno == errno.EAGAIN and error.filename is None:
        return process_limit()
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return f"the limit of open files ({_limit('-n', resource.RLIMIT_NOFILE)}) is reached; raise it and run the same command again"
    return None


def process_limit() -> str:
    """Return a line saying that the system gives no more processes or threads, with the limits and the fix."""
    limits = [_limit("-u", resource.RLIMIT_NPROC)]
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        limits.append(_limit("-v", resource.RLIMIT_AS, 1024))
    return f"the limit of processes and threads ({', '.join(limits)}) is reached; raise it, or use --jobs 1; the same command resumes"


def _limit(option: str, which: int, unit: int = 1) -> str:
    soft = resource.getrlimit(which)[0]
    return f"ulimit {option} {'unlimited' if soft == resource.RLIM_INFINITY else soft // unit}"
