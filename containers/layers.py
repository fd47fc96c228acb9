"""Layers of an image: tar files whose bytes depend only on the names, modes and contents of their files."""

from __future__ import annotations

import hashlib
import io
import os
import posixpath
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

EPOCH = int(os.environ.get("SOURCE_DATE_EPOCH", "315532800"))
"""The time of everything in an image: 1980, or what reproducible-builds.org calls SOURCE_DATE_EPOCH."""

MERGED = ("bin", "sbin", "lib", "lib64")
"""Links at the root of a merged-/usr system; Debian's packages still name files below them."""

LEFT_OUT = ("usr/share/man/", "usr/share/info/", "usr/share/locale/", "usr/share/lintian/", "usr/share/bash-completion/")


@dataclass
class Layer:
    """The files of a layer by their path. All belong to root; parents of files are directories that everybody may read."""

    members: dict[str, tuple[tarfile.TarInfo, bytes | Path]] = field(default_factory=dict)

    def add(self, path: str, content: bytes | Path = b"", mode: int = 0o644, kind: bytes = tarfile.REGTYPE, target: str = "") -> None:
        """Add a file (a Path is read when the layer is written), a directory or a link, in the place of an earlier one of the same path."""
        info = tarfile.TarInfo(path)
        info.type, info.mode, info.linkname, info.mtime = kind, mode, target, EPOCH
        info.size = len(content) if isinstance(content, bytes) else content.stat().st_size
        self.members[path] = (info, content)

    def add_directory(self, path: str, mode: int = 0o755) -> None:
        self.add(path, mode=mode, kind=tarfile.DIRTYPE)

    def add_link(self, path: str, target: str) -> None:
        self.add(path, mode=0o777, kind=tarfile.SYMTYPE, target=target)

    def add_tree(self, directory: Path, below: str) -> None:
        """Add the files of a directory. Of their modes, only the right to execute is kept."""
        for path in sorted(directory.rglob("*")):
            name = posixpath.join(below, path.relative_to(directory).as_posix())
            if path.is_symlink():
                self.add_link(name, str(path.readlink()))
            elif path.is_file():
                self.add(name, path, 0o755 if path.stat().st_mode & 0o100 else 0o644)

    def add_package(self, package: Path) -> None:
        """Add the files of a Debian package, its copyright and its control record (as security scanners look for it)."""
        content = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            for info in tar:
                path = _merged(posixpath.normpath(info.name))
                if path == "." or _is_left_out(path):
                    continue
                file = tar.extractfile(info) if info.isreg() else None
                target = _merged(posixpath.normpath(info.linkname)) if info.islnk() else info.linkname
                # Without setuid and setgid: nobody in the image becomes somebody else.
                self.add(path, file.read() if file else b"", info.mode & 0o1777, info.type, target)
        control = subprocess.run(["dpkg-deb", "--field", package], stdout=subprocess.PIPE, check=True).stdout
        self.add(f"var/lib/dpkg/status.d/{package.name.split('_')[0]}", control)

    def write(self, path: Path) -> None:
        """Write the layer as a tar file, parents first."""
        parents = {parent for name in self.members for parent in _parents(name)} - self.members.keys()
        for parent in parents:
            self.add_directory(parent)
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            # Hard links follow the files that they link to.
            for _, (info, content) in sorted(self.members.items(), key=lambda member: (member[1][0].islnk(), member[0])):
                with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
                    tar.addfile(info, file)


def digest_of(pieces: Iterable[bytes]) -> str:
    """Return the SHA-256 of bytes, as images name their parts."""
    sha = hashlib.sha256()
    for piece in pieces:
        sha.update(piece)
    return sha.hexdigest()


def pieces_of(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            yield piece


def _merged(path: str) -> str:
    return f"usr/{path}" if path.split("/")[0] in MERGED else path


def _is_left_out(path: str) -> bool:
    if path.startswith("usr/share/doc/"):
        return not path.endswith("/copyright")
    return f"{path}/".startswith(LEFT_OUT)


def _parents(path: str) -> Iterator[str]:
    while path := posixpath.dirname(path):
        yield path
