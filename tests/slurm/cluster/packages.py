"""Debian's packages of Slurm, installed without starting their services."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

PACKAGES = {
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
    "munged": "munge",
    "ip": "iproute2",
    "unshare": "util-linux",
}
ACCOUNTING_PACKAGES = {"slurmdbd": "slurmdbd", "mariadbd": "mariadb-server"}
POLICY = Path("/usr/sbin/policy-rc.d")
LOCK = Path("/run/lock/wkpipe-slurm-packages")
SECONDS = 300
# Debian has the daemons in directories that are not in the PATH of ordinary users.
SEARCH_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin:/usr/bin"


class Unavailable(Exception):
    """Slurm cannot run here; the message is the reason."""


def program(name: str) -> str:
    """Return the path of an installed program."""
    path = shutil.which(name, path=SEARCH_PATH)
    if path is None:
        raise Unavailable(f"{name} is not installed")
    return path


def install(accounting: bool) -> None:
    """Install the packages whose programs are missing.

    Raises:
        Unavailable: not root, no Debian, or the packages cannot be installed.
    """
    if os.geteuid() != 0:
        raise Unavailable("the daemons of Slurm need root")
    wanted = PACKAGES | (ACCOUNTING_PACKAGES if accounting else {})
    with _only_one_installs():
        missing = [package for name, package in wanted.items() if shutil.which(name, path=SEARCH_PATH) is None]
        if not missing:
            return
        if shutil.which("apt-get") is None:
            raise Unavailable(f"{', '.join(missing)} cannot be installed: there is no apt-get")
        with _no_daemon_starts():
            install_missing = ["install", "--yes", "--no-install-recommends", *missing]
            if _apt_get(*install_missing).returncode != 0:
                _apt_get("update")
                done = _apt_get(*install_missing)
                if done.returncode != 0:
                    raise Unavailable(f"{', '.join(missing)} cannot be installed: {(done.stdout.splitlines() or ['?'])[-1]}")


def _apt_get(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "PATH": SEARCH_PATH}
    command: Sequence[str] = ["apt-get", "--quiet", "--option", f"DPkg::Lock::Timeout={SECONDS}", *arguments]
    try:
        return subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"apt-get {arguments[0]} took more than {SECONDS} s") from None


@contextlib.contextmanager
def _only_one_installs() -> Iterator[None]:
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _no_daemon_starts() -> Iterator[None]:
    """Keep Debian's packages from starting services; an existing rule stays."""
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink()
