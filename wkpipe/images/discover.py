"""Discovery: from a source path to the groups of files that become one layer (or one layer per channel) each."""

from __future__ import annotations

import collections
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wkpipe.errors import InputRefused, UnreadableInput
from wkpipe.images.names import check_name, clean_name, unique_names
from wkpipe.images.reader import ImageFile, reader_for, supported_extensions

MAX_LAYERS = 20


@dataclass(frozen=True)
class FileGroup:
    """Files that belong together: slices in z order, or a single file that has its own z axis (or is a single slice)."""

    name: str
    files: tuple[Path, ...]


def inspect_file(path: Path) -> ImageFile:
    """Return the facts of one file, read by the reader in charge of it.

    Raises:
        UnreadableInput: missing, truncated, or not what the name says.
        InputRefused: of a kind that can not be converted.
    """
    reader = reader_for(path, path.is_dir())
    if reader is None:
        raise UnreadableInput(f"{path}: the format is not supported; supported are {_supported()}")
    return reader.inspect(path)


def find_files(source: Path) -> list[Path]:
    """Return all files under a directory (or the file itself) that a reader takes, in natural order of their relative paths.

    Hidden files and directories, symlink loops of directories and other formats are passed over. Links to directories are
    followed. What has the name of an image and is none (a directory, a pipe, a link to nowhere) is not passed over.

    Raises:
        UnreadableInput: the source is missing or not readable, or has no file of a supported format.
    """
    try:
        is_dir = source.is_dir()
        source.stat()
        other: collections.Counter[str] = collections.Counter()
        found = list(_walk(source, frozenset(), other)) if is_dir and not reader_for(source, True) else [source]
    except FileNotFoundError:
        raise UnreadableInput(f"{source}: there is no such file or directory; check the path") from None
    except OSError as error:
        raise UnreadableInput(f"{error.filename or source}: can not be read: {error.strerror}; check the permissions") from None
    if not is_dir and reader_for(source) is None:
        extension = source.suffix or "no extension"
        raise UnreadableInput(f"{source}: found a file with {extension}, expected an image; supported are {_supported()}")
    if not is_dir and not source.is_file():
        raise UnreadableInput(f"{source}: found neither a file nor a directory, expected an image or a directory of images")
    if not found:
        seen = ", ".join(f"{count} {kind}" for kind, count in sorted(other.items(), key=lambda item: (-item[1], item[0]))[:8])
        raise UnreadableInput(f"{source}: found no image ({seen or 'nothing at all'}); supported are {_supported()}")
    return natural_order(found, source)


def natural_order(paths: Iterable[Path], root: Path) -> list[Path]:
    """Return paths sorted by their parts below `root`, numbers by value: s1, s2, s9, s10; equal ones (s1, s01) by their text."""
    from natsort import natsort_keygen

    key = natsort_keygen()
    return sorted(paths, key=lambda path: ([key(part) for part in path.relative_to(root).parts], str(path)))


def group_files(files: list[Path], source: Path, first: ImageFile, layer_name: str | None = None) -> list[FileGroup]:
    """Sort files into layers by the first file: with several planes, every file is a layer; else every parent folder is one.

    Names: a file's own relative path (``x y/v.tif`` → ``xyv.tif``), else the name of its folder; a single 2-D input file takes its
    parent folder's name. Folders of equal names take their relative paths (``a_x``, ``b_x``); names still equal are numbered.
    `layer_name` replaces the name of a single group and is put in front of several.

    Raises:
        UsageError: `layer_name` is not a layer name.
        InputRefused: more than `MAX_LAYERS` groups.
    """
    root = source if source.is_dir() else source.parent
    keyed: dict[Path, list[Path]] = {}
    per_file = first.sizes.z > 1 or first.sizes.t > 1
    for path in files:
        keyed.setdefault(path if per_file else path.parent, []).append(path)
    if len(keyed) > MAX_LAYERS:
        what = "files with several planes each" if per_file else "folders with images"
        mend = "put slices as 2-D images into one folder, or convert fewer at a time" if per_file else "convert fewer folders at a time"
        raise InputRefused(f"{source}: {len(keyed)} {what} would make {len(keyed)} layers, at most {MAX_LAYERS} are possible; {mend}")
    if per_file:
        names = [clean_name(str(path.relative_to(root))) for path in keyed]
    else:
        names = [clean_name(folder.name if folder.name not in ("", "..") else folder.resolve().name) for folder in keyed]
        twice = {name for name, count in collections.Counter(names).items() if count > 1}
        names = [
            clean_name("_".join(folder.relative_to(root).parts)) if name in twice and folder != root else name
            for name, folder in zip(names, keyed, strict=True)
        ]
    if layer_name is not None:
        check_name(layer_name)
        names = [layer_name] if len(names) == 1 else [f"{layer_name}_{name}" for name in names]
    return [FileGroup(name, tuple(paths)) for name, paths in zip(unique_names(names), keyed.values(), strict=True)]


def _walk(folder: Path, ancestors: frozenset[tuple[int, int]], other: collections.Counter[str]) -> Iterator[Path]:
    """Yield the files under a folder that a reader takes; count the others by their extension."""
    stat = folder.stat()
    ancestors |= {(stat.st_dev, stat.st_ino)}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = folder / entry.name
            try:
                is_dir = entry.is_dir()
            except OSError:  # a link that leads to itself
                is_dir = False
            if reader_for(path) and _leads_somewhere(path) and not path.is_file() and not reader_for(path, True):
                # to pass over a slice would shift all that come after it
                raise UnreadableInput(f"{path}: found something that is not a file, expected an image; replace or rename it")
            if is_dir:
                at = path.stat()
                if (at.st_dev, at.st_ino) in ancestors:
                    continue
                if reader_for(path, True):
                    yield path
                else:
                    yield from _walk(path, ancestors, other)
            elif entry.is_symlink() and not _leads_somewhere(path):
                # a dangling link to an image is a hole in the stack, so it is handed on and refused when it is opened
                if reader_for(path):
                    yield path
            elif entry.is_file() and reader_for(path):
                yield path
            else:
                other[path.suffix.lower() or "without extension"] += 1


def _leads_somewhere(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a link that leads to itself
        return False


def _supported() -> str:
    return ", ".join(supported_extensions())
