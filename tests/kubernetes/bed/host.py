"""What a host needs to run a cluster."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess

from containers.apt import KEYRING
from containers.oci import ARCHITECTURES
from tests.kubernetes.bed.layout import CONTROL_GROUPS

PROGRAMS = ("ip", "mount", "openssl", "unshare")
BUILD_PROGRAMS = ("go", "apt-get", "dpkg-deb")
OLDEST_GO = (1, 24)
SEARCH_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
"""Debian has some programs in directories that are not in the PATH of ordinary users."""


class Unavailable(Exception):
    """No Kubernetes can run here; the message is the reason."""


def check_host() -> None:
    """Check that a cluster can run here.

    Raises:
        Unavailable: it cannot.
    """
    if os.geteuid() != 0:
        raise Unavailable("its daemons need root")
    if platform.machine() not in ARCHITECTURES:
        raise Unavailable(f"{platform.machine()} is none of {', '.join(ARCHITECTURES)}")
    _check_programs(PROGRAMS)
    for controller in ("cpu", "cpuset", "memory", "pids"):
        if not (CONTROL_GROUPS / controller / "cgroup.procs").exists():
            raise Unavailable(f"{CONTROL_GROUPS}/{controller} is missing: these tests know only control groups of version 1")
    if subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        raise Unavailable("no network and mount namespaces can be made")


def check_builder() -> None:
    """Check that the programs of a cluster can be built here.

    Raises:
        Unavailable: they cannot.
    """
    _check_programs(BUILD_PROGRAMS)
    if not KEYRING.exists():
        raise Unavailable(f"{KEYRING} is missing (package debian-archive-keyring)")
    version = subprocess.run(["go", "env", "GOVERSION"], capture_output=True, text=True, check=True).stdout.strip()
    numbers = re.match(r"go(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST_GO:
        raise Unavailable(f"Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or newer is needed, and this is {version}")


def _check_programs(names: tuple[str, ...]) -> None:
    missing = [name for name in names if shutil.which(name, path=SEARCH_PATH) is None]
    if missing:
        raise Unavailable(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed")
