"""Fetch packages of one release of Debian, whatever this host has installed. Nothing is installed, and no root is needed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SUITE = "bookworm"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR = "http://deb.debian.org/{}"
MIRROR_VARIABLE = "DEBIAN_MIRROR"
"""An environment variable with another mirror; {} in it becomes `debian` or `debian-security`."""


class Impossible(Exception):
    """Something that a build needs is missing here; the message is the reason."""


@dataclass(frozen=True)
class Apt:
    """apt with lists of its own in a directory. Proxies and the like come from the host's configuration."""

    directory: Path
    architecture: str | None = None
    """As Debian names it, such as arm64; None: this host's."""

    @classmethod
    def updated(cls, directory: Path, architecture: str | None = None) -> Apt:
        """Download the lists of packages into a directory.

        Raises:
            Impossible: apt or Debian's keys are missing, or the mirror does not answer.
        """
        for program in ("apt-get", "dpkg-deb"):
            if shutil.which(program) is None:
                raise Impossible(f"{program} is not installed")
        if not KEYRING.exists():
            raise Impossible(f"{KEYRING} is missing (package debian-archive-keyring)")
        for name in ("lists/partial", "archives/partial"):
            (directory / name).mkdir(parents=True, exist_ok=True)
        (directory / "status").write_text("")  # no package is installed
        mirror = os.environ.get(MIRROR_VARIABLE, MIRROR)
        sources = [("debian", SUITE), ("debian-security", f"{SUITE}-security")]
        # Lists of a mirror of the past are out of date.
        options = f"signed-by={KEYRING}" + (" check-valid-until=no" if MIRROR_VARIABLE in os.environ else "")
        lines = [f"deb [{options}] {mirror.replace('{}', archive)} {suite} main\n" for archive, suite in sources]
        (directory / "sources.list").write_text("".join(lines))
        apt = cls(directory, architecture)
        apt._run("update")
        return apt

    def with_dependencies(self, packages: Sequence[str]) -> list[Path]:
        """Download packages and all that they depend on."""
        listed = self._run("--no-install-recommends", "--print-uris", "install", *packages)
        self._run("--no-install-recommends", "--download-only", "--yes", "install", *packages)
        names = sorted(re.findall(r"^'[^']+' (\S+\.deb) ", listed, re.MULTILINE))
        return [self.directory / "archives" / name for name in names]

    def alone(self, packages: Sequence[str]) -> list[Path]:
        """Download packages without their dependencies."""
        target = self.directory / "alone"
        target.mkdir(exist_ok=True)
        self._run("download", *packages, cwd=target)
        return sorted(target.glob("*.deb"))

    def _run(self, *arguments: str, cwd: Path | None = None) -> str:
        options = {
            "Dir::Etc::SourceList": self.directory / "sources.list",
            "Dir::Etc::SourceParts": "/dev/null",
            "Dir::State::Lists": self.directory / "lists",
            "Dir::State::status": self.directory / "status",
            "Dir::Cache::archives": self.directory / "archives",
            "Dir::Cache::pkgcache": "",
            "Dir::Cache::srcpkgcache": "",
            "APT::Sandbox::User": "",
            "APT::Update::Error-Mode": "any",
            "Acquire::Languages": "none",
            "Debug::NoLocking": "true",
        }
        if self.architecture is not None:
            options |= {"APT::Architecture": self.architecture, "APT::Architectures": self.architecture}
        command = ["apt-get", "-qq", *(f"--option={key}={value}" for key, value in options.items()), *arguments]
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Impossible(f"apt-get {arguments[0]}: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        return done.stdout
