"""Network and mount namespaces: a cluster lives in its own, so that no address, route, port or mount of the host changes."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.kubernetes.bed.layout import ADDRESS, SERVICE

NEW_MOUNTS, NEW_NETWORK = 0x0002_0000, 0x4000_0000  # CLONE_NEWNS and CLONE_NEWNET of linux/sched.h
WRITTEN = ("/run/netns", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers", "/var/log/pods")
"""Directories whose places the daemons do not let us choose."""

_MARK = "trusted.wkpipe-tests"
_libc = ctypes.CDLL(None, use_errno=True)


def set_up(directory: Path) -> None:
    """Give this process a network with a bridge for pods, and mounts of its own.

    `directory` is where the daemons mount the files of pods.
    """
    _check(_libc.unshare(NEW_MOUNTS | NEW_NETWORK), "unshare")
    _run("mount", "--make-rprivate", "/")
    _run("mount", "--bind", str(directory), str(directory))
    _run("mount", "--make-rshared", str(directory))
    for path in WRITTEN:
        _run("mount", "-t", "tmpfs", "bed", path)
    _run("mount", "--bind", str(directory / "resolv.conf"), "/etc/resolv.conf")
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "link", "add", "cni0", "type", "bridge")
    _run("ip", "address", "add", f"{ADDRESS}/24", "dev", "cni0")
    _run("ip", "address", "add", f"{SERVICE}/32", "dev", "cni0")
    _run("ip", "link", "set", "cni0", "up")
    _run("ip", "route", "add", "default", "via", ADDRESS, "dev", "cni0")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


@contextlib.contextmanager
def mount_points() -> Iterator[None]:
    """Create the directories of `WRITTEN` that the host does not have; the last cluster that uses one removes it.

    A directory that is removed is no longer mounted in any namespace, so each is locked as long as it is used. An attribute marks those
    that were created here.
    """
    with contextlib.ExitStack() as stack:
        for path in map(Path, WRITTEN):
            stack.enter_context(_mount_point(path))
        yield


@contextlib.contextmanager
def _mount_point(path: Path) -> Iterator[None]:
    used = _locked_directory(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # others use it, or something is in it
            fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _MARK in os.listxattr(path):
                path.rmdir()
        os.close(used)


def _locked_directory(path: Path) -> int:
    """Return a descriptor of a directory with a shared lock; it is created if it is missing."""
    while True:
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            os.setxattr(path, _MARK, b"")
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(directory, fcntl.LOCK_SH)
        if path.exists() and os.path.samestat(os.fstat(directory), path.stat()):
            return directory
        os.close(directory)  # it was removed in the meantime


@contextlib.contextmanager
def way_back() -> Iterator[None]:
    """At the end of the block, return to the namespaces in which it was begun."""
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(open(f"/proc/self/ns/{name}")) for name in ("mnt", "net")]  # noqa: PTH123
        try:
            yield
        finally:
            for file in files:
                _check(_libc.setns(file.fileno(), 0), "setns")


@contextlib.contextmanager
def network_of(pid: int) -> Iterator[None]:
    """Let this thread, and the processes that it starts, use the network of another process."""
    with open("/proc/thread-self/ns/net") as own, open(f"/proc/{pid}/ns/net") as other:  # noqa: PTH123
        _check(_libc.setns(other.fileno(), NEW_NETWORK), "setns")
        try:
            yield
        finally:
            _check(_libc.setns(own.fileno(), NEW_NETWORK), "setns")


def _check(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def _run(*command: str) -> None:
    subprocess.run(command, check=True)
