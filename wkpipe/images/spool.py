"""Spool: a tar that is compressed as a whole is decompressed once, into a tar whose members can be read one by one.

The file in the spool is named after the archive's path, size and time of change, so later runs and jobs use the same one.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import zlib
from pathlib import Path

from wkpipe.errors import NotWritable, UnreadableInput
from wkpipe.storage import disk, names
from wkpipe.storage.process import signature

OPENERS: dict[str, type[gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]] = {
    ".tar.gz": gzip.GzipFile,
    ".tgz": gzip.GzipFile,
    ".tar.bz2": bz2.BZ2File,
    ".tbz2": bz2.BZ2File,
    ".tar.xz": lzma.LZMAFile,
    ".txz": lzma.LZMAFile,
}
"""Endings of compressed archives, and what opens them."""

PIECE_BYTES = 4 << 20


def ending_of_compressed(path: Path) -> str:
    """Return the ending of a compressed tar in lower case; empty for anything else."""
    name = path.name.lower()
    return next((ending for ending in OPENERS if name.endswith(ending) and len(name) > len(ending)), "")


def spool_directory(given: Path | None) -> Path:
    """Return the directory for decompressed archives: the given one, or one of the user's cache."""
    return (given or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wkpipe" / "spool").absolute()


def decompressed(archive: Path, directory: Path) -> Path:
    """Return the tar in the spool with the content of a compressed archive; it is made if it is not there.

    Raises:
        UnreadableInput: the archive is damaged.
        NotWritable: the spool cannot be written, or has no room.
    """
    stat = archive.stat()
    key = hashlib.sha256(os.fsencode(archive.resolve()) + f"\0{stat.st_size}\0{stat.st_mtime_ns}".encode()).hexdigest()[:16]
    ending = ending_of_compressed(archive)
    target = directory / key / f"{archive.name[: -len(ending)]}.tar"
    if target.is_file():
        return target
    temporary = target.with_name(f"{target.name}.{signature()}.tmp")
    try:
        disk.make_directory(target.parent)
        descriptor = disk.create(temporary)
        try:
            with OPENERS[ending](archive, "rb") as content:
                _copy(archive, content, descriptor, temporary)
            disk.sync(descriptor, temporary)
            disk.set_mtime(descriptor, stat.st_mtime_ns, temporary)
        finally:
            disk.close(descriptor, temporary)
        names.rename(temporary, target)
    except BaseException as error:
        if temporary.is_file():
            disk.unlink(temporary)
        if isinstance(error, NotWritable):
            what = f"the archive cannot be decompressed into the spool: {error.what}"
            raise error.but(what=what, fix="choose a directory with room with --spool-dir, or unpack the archive") from None
        raise
    return target


def _copy(archive: Path, content: io.BufferedIOBase, descriptor: int, temporary: Path) -> None:
    while True:
        try:
            piece = content.read(PIECE_BYTES)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise UnreadableInput(f"the archive is damaged: {error}", where=archive, fix="replace it") from None
        if not piece:
            return
        disk.write(descriptor, piece, temporary)
