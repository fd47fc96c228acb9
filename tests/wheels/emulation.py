"""Run programs of other processors and C libraries on this host, with packages of Debian that are unpacked, not installed."""

from __future__ import annotations

import platform as host
import subprocess
import tempfile
from pathlib import Path

from containers.apt import Apt
from containers.cache import made_once
from wheels.platforms import Platform

DEBIAN = {"x86_64": "amd64", "aarch64": "arm64"}


PACKAGES = ("libc6", "musl", "qemu-user-static")
"""C libraries of both kinds, and the emulator."""


def _unpacked(machine: str) -> Path:
    """Return a directory with the packages of a processor."""

    def make(target: Path) -> None:
        with tempfile.TemporaryDirectory() as lists:
            for package in Apt.updated(Path(lists), DEBIAN[machine]).alone(PACKAGES if machine == host.machine() else PACKAGES[:2]):
                subprocess.run(["dpkg-deb", "--extract", str(package), str(target)], check=True)

    return made_once(f"debian-programs-{machine}", make)


def command(platform: Platform, program: Path) -> list[str]:
    """Return the command that runs a program of a platform.

    Raises
    ------
    containers.apt.Impossible
        there are no packages of Debian here; says why.
    """
    root = _unpacked(platform.machine)
    if platform.libc == "musl":
        loader = [str(root / f"lib/ld-musl-{platform.machine}.so.1")]
    else:
        libraries = root / f"lib/{platform.machine}-linux-gnu"
        loader = [str(next(libraries.glob("ld-linux-*.so.*"))), "--library-path", str(libraries)]
    emulator = []
    if platform.machine != host.machine():
        emulator = [str(_unpacked(host.machine()) / f"usr/bin/qemu-{platform.machine}-static")]
    return [*emulator, *loader, str(program)]
