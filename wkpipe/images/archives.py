"""Archives: zip and tar files of images, which are read without being unpacked.

A member has the path of its archive, a slash and its name. A member that is read is decompressed into a file in memory; each thread
keeps its last one, so that planes of one member that are read after each other cost one decompression.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from wkpipe.errors import InputRefused, UnreadableInput

ENDINGS = (".zip", ".tar")
OTHER_ARCHIVES = (".tar.zst", ".tar.z", ".7z", ".rar")
PIECE_BYTES = 4 << 20
BROKEN_ARCHIVE = (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError, RuntimeError, ValueError, struct.error)

_ENDS = re.compile("|".join(f"(?<={re.escape(ending)})/" for ending in ENDINGS), re.IGNORECASE | re.ASCII)
"""Where the name of an archive ends within a path."""

_kept = threading.local()


@dataclass(frozen=True)
class Member:
    """A file in an archive.

    stamp: a number that changes with its content: the checksum, or the archive's time of change. offset: where its data begin, in a zip
    after a header. packed: their size there. method: how a zip has compressed them. is_plain: False for links, and for what is encrypted.
    """

    name: str
    size: int
    stamp: int
    offset: int
    packed: int
    method: int = zipfile.ZIP_STORED
    is_plain: bool = True


def is_archive(path: Path) -> bool:
    """True if a path has the ending of an archive that can be read.

    Raises:
        InputRefused: it is an archive of another kind.
    """
    name = path.name.lower()
    if name.endswith(OTHER_ARCHIVES):
        raise InputRefused(
            "archives of this kind cannot be read", where=path, expected="a zip, tar, tar.gz, tar.bz2 or tar.xz", fix="unpack it"
        )
    return name.endswith(ENDINGS)


def split(path: Path) -> tuple[Path, str] | None:
    """Return the archive and the name of a member's path; None for any other path."""
    text = str(path)
    for found in _ENDS.finditer(text):
        archive = Path(text[: found.start()])
        if archive.is_file():
            return archive, text[found.end() :]
    return None


def members_of(archive: Path) -> Mapping[str, Member]:
    """Return the members of an archive by their names; directories are left out.

    Raises:
        UnreadableInput: it is not readable or damaged.
        InputRefused: a member's name leads out of the archive, or occurs twice.
    """
    try:
        stat = archive.stat()
        return _members(archive, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise UnreadableInput(f"cannot be read: {error.strerror}", where=archive, fix="check that it exists and may be read") from None
    except InputRefused:  # it is a ValueError too
        raise
    except BROKEN_ARCHIVE as error:
        raise UnreadableInput(f"the archive is damaged: {error}", where=archive, fix="replace it") from None


@contextlib.contextmanager
def opened_member(archive: Path, name: str) -> Iterator[tuple[BinaryIO, os.stat_result]]:
    """Open a member for reading, as a file of its own; provide its handle and status.

    Raises:
        UnreadableInput: it is not there, damaged or encrypted.
    """
    member = members_of(archive).get(name)
    where = archive / name
    if member is None:
        raise UnreadableInput("there is no such member in the archive", where=where, fix="start again")
    key = (archive, name, member.size, member.stamp)
    if getattr(_kept, "key", None) != key:
        close_kept()
        file = _unpacked(archive, member)
        _kept.key, _kept.file = key, file
    # Opened again, so that it has a position and a name of its own.
    with Path(f"/proc/self/fd/{_kept.file.fileno()}").open("rb") as handle:
        yield handle, os.stat_result(os.fstat(handle.fileno()), {"st_mtime_ns": member.stamp})


def close_kept() -> None:
    """Close the member that this thread has read last."""
    file = getattr(_kept, "file", None)
    _kept.key = _kept.file = None
    if file is not None:
        file.close()


@functools.lru_cache(maxsize=4)
def _members(archive: Path, _: int, mtime_ns: int) -> Mapping[str, Member]:
    found: dict[str, Member] = {}
    for member in _zip_members(archive) if archive.name.lower().endswith(".zip") else _tar_members(archive, mtime_ns):
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or "\0" in member.name or not path.parts:
            raise InputRefused(
                "a member's name leads out of the archive", where=archive, found=repr(member.name), fix="make the archive again"
            )
        if (name := path.as_posix()) in found:
            raise InputRefused("a member is there twice", where=archive / name, fix="make the archive again")
        found[name] = member
    return found


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as file:
        for info in file.infolist():
            if not info.is_dir():
                method, is_plain = info.compress_type, not info.flag_bits & 1
                yield Member(info.filename, info.file_size, info.CRC, info.header_offset, info.compress_size, method, is_plain)


def _tar_members(archive: Path, mtime_ns: int) -> Iterator[Member]:
    with tarfile.open(archive, "r:") as file:
        for info in file:
            if not info.isdir():
                is_plain = info.isreg() and not info.issparse()
                yield Member(info.name, info.size, mtime_ns, info.offset_data, info.size, is_plain=is_plain)


def _unpacked(archive: Path, member: Member) -> BinaryIO:
    """Return a file in memory with the content of a member."""
    where, is_zip = archive / member.name, archive.name.lower().endswith(".zip")
    if not member.is_plain or member.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        what = "is encrypted, a link, or compressed by a method that cannot be read"
        raise UnreadableInput(what, where=where, expected="a stored or deflated file", fix="unpack the archive")
    file = os.fdopen(os.memfd_create("wkpipe-member", os.MFD_CLOEXEC), "w+b")
    try:
        checksum = size = 0
        for piece in _pieces(archive, member, is_zip):
            checksum = zlib.crc32(piece, checksum)
            file.write(piece)
            size += len(piece)
            if size > member.size:
                break
        file.flush()
        if size != member.size or (is_zip and checksum != member.stamp):
            raise UnreadableInput(
                "its data are damaged", where=where, expected=f"{member.size} bytes with the right checksum", fix="replace it"
            )
    except (OSError, zlib.error, struct.error) as error:
        file.close()
        raise UnreadableInput(f"its data are damaged: {error}", where=where, fix="replace it") from None
    except UnreadableInput:
        file.close()
        raise
    return file


def _pieces(archive: Path, member: Member, is_zip: bool) -> Iterator[bytes]:
    """Yield the content of a member, piece by piece."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == zipfile.ZIP_DEFLATED else None
    with archive.open("rb") as file:
        file.seek(member.offset)
        if is_zip:
            name, extra = struct.unpack("<26xHH", file.read(30))
            file.seek(name + extra, os.SEEK_CUR)
        left = member.packed
        while left and (piece := file.read(min(left, PIECE_BYTES))):
            left -= len(piece)
            if inflate is None:
                yield piece
                continue
            while piece:
                yield inflate.decompress(piece, PIECE_BYTES)
                piece = inflate.unconsumed_tail
        if inflate is not None:
            yield inflate.flush()
