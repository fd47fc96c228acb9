"""Discovery: find the images of a source: which files there are, and which of them are the images."""

from __future__ import annotations

import collections
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wkpipe.errors import UnreadableInput
from wkpipe.images import archives, globs
from wkpipe.images.accounting import FILE, MEMBER, Account
from wkpipe.images.families import check_readable_family, choose_family, family_of, image_family
from wkpipe.images.options import SourceOptions
from wkpipe.images.reader import ImageFile, ReadOptions
from wkpipe.images.registry import is_image, reader_for, supported_extensions
from wkpipe.images.sequence import by_name
from wkpipe.images.spool import decompressed, ending_of_compressed, spool_directory

NO_IMAGE, HIDDEN, LOOP, BROKEN = "not an image", "hidden", "a link to a directory above it", "a broken link"
NOT_LISTED = "not listed"


@dataclass(frozen=True)
class Found:
    """The images of a source, in natural order of their relative paths, and why each other file is left out.

    `root` is the directory or archive that the paths are below.
    """

    root: Path
    images: tuple[Path, ...]
    left_out: Mapping[Path, str]
    unit: str = FILE

    def but_without(self, reasons: Mapping[Path, str]) -> Found:
        """Return the same without some images, with the reason for each."""
        images = tuple(path for path in self.images if path not in reasons)
        return replace(self, images=images, left_out={**self.left_out, **reasons})

    def account(self, of: str) -> Account:
        """Return the account of all files."""
        names = {str(path.relative_to(self.root)): self.left_out[path] for path in by_name(self.left_out, self.root)}
        return Account.of_names(of, self.unit, len(self.images), names)


def inspect_series(path: Path, how: ReadOptions) -> Sequence[ImageFile]:
    """Return the facts of each series of an image file that is converted, read by the reader for its format.

    Raises:
        UnreadableInput: the file is missing, truncated, or not what its name says.
        InputRefused: the image is of a kind that cannot be converted.
    """
    check_readable_family(path)
    reader = reader_for(path, path.is_dir())
    assert reader is not None
    series = reader.inspect(path, how)
    # A member of an archive is decompressed into memory.
    return series if archives.split(path) is None else [replace(image, scratch_bytes=image.scratch_bytes + image.size) for image in series]


def find_files(source: Path, spool: Path | None = None) -> Found:
    """Return all images of a source, also those of formats without a reader: a file, a directory, an archive, or what a glob matches.

    Hidden files and directories, symlink loops of directories and files that are no images are left out. Links to directories are
    followed. Anything that has the name of an image but is not a file (a directory, a pipe, a broken link) is not left out.
    An archive that is compressed as a whole is decompressed into the directory `spool`, see `wkpipe.images.spool`.

    Raises:
        UnreadableInput: the source is missing or not readable, or has no image.
        InputRefused: an archive is of a kind that cannot be read.
        NotWritable: the spool has no room, or may not be written.
    """
    try:
        found = _found(source, spool)
    except FileNotFoundError:
        raise UnreadableInput("there is no such file or directory", where=source, fix="check the path") from None
    except OSError as error:
        raise UnreadableInput(f"cannot be read: {error.strerror}", where=error.filename or source, fix="check the permissions") from None
    if not found.images:
        other = collections.Counter(path.suffix.lower() or "without extension" for path, why in found.left_out.items() if why == NO_IMAGE)
        seen = ", ".join(f"{count} {kind}" for kind, count in sorted(other.items(), key=lambda item: (-item[1], item[0]))[:8])
        raise UnreadableInput(
            where=source, found=f"no image ({seen or 'nothing at all'})", expected=f"files of these formats: {_supported()}"
        )
    return replace(found, images=tuple(by_name(found.images, found.root)))


def _found(source: Path, spool: Path | None) -> Found:
    left_out: dict[Path, str] = {}
    if not os.path.lexists(source) and globs.is_glob(source):
        root = globs.root_of(source)
        images: dict[Path, None] = {}
        for path in globs.matches(source):
            if path.is_dir() and not family_of(path, True):
                images |= dict.fromkeys(_walk(path, frozenset(), left_out))
            elif family_of(path) or path.is_dir():
                images[path] = None
            else:
                left_out[path] = NO_IMAGE
        return Found(root, tuple(images), left_out)
    is_dir = source.is_dir()
    source.stat()
    if is_dir and not family_of(source, True):
        return Found(source, tuple(_walk(source, frozenset(), left_out)), left_out)
    if not is_dir and ending_of_compressed(source):
        source = decompressed(source, spool_directory(spool))
    if not is_dir and archives.is_archive(source):
        return Found(source, tuple(_members(source, left_out)), left_out, MEMBER)
    if not is_dir and not is_image(source):
        extension = source.suffix or "no extension"
        raise UnreadableInput(where=source, found=f"a file with {extension}", expected=f"an image ({_supported()})")
    if not is_dir and not source.is_file():
        raise UnreadableInput(where=source, found="neither a file nor a directory", expected="an image or a directory of images")
    return Found(source.parent, (source,), left_out)


def _members(archive: Path, left_out: dict[Path, str]) -> Iterator[Path]:
    """Yield the images in an archive; note why everything else is left out."""
    for name in archives.members_of(archive):
        path = archive / name
        if any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(archive).parts):
            left_out[path] = HIDDEN
        elif family_of(path):
            yield path
        else:
            left_out[path] = NO_IMAGE


def images_of(found: Found, options: SourceOptions) -> Found:
    """Return the images that are used: those that are listed, or one family of each folder, or of all folders if these make one stack.

    Raises:
        InputRefused: it is not certain which files are the images.
        UnreadableInput: there is no reader for them, or none has an ending that the user has chosen; or a listed file is not there.
    """
    if options.grouping.layers:
        return _listed(found, options)
    folders: dict[Path, list[Path]] = {}
    for path in found.images:
        folders.setdefault(found.root if options.concat else options.grouping.mapping.folder(path, found.root), []).append(path)
    reasons: dict[Path, str] = {}
    for files in folders.values():
        reasons |= choose_family(files, found.root if options.concat else files[0].parent, options.family)[1]
    chosen = found.but_without(reasons)
    if not chosen.images:
        seen = ", ".join(sorted({image_family(path) for path in found.images}))
        raise UnreadableInput(
            where=found.root, found=f"images of the families {seen}", expected=" or ".join(options.family), fix="check --family"
        )
    return chosen


def _listed(found: Found, options: SourceOptions) -> Found:
    """Return the images that the user has listed: all of them, of any family."""
    known = {path.relative_to(found.root).as_posix(): path for path in found.images}
    listed = options.grouping.layer_of
    if missing := next((path for path in listed if path not in known), None):
        raise UnreadableInput("there is no such image", where=found.root / missing, fix="check the list of files")
    return found.but_without({path: NOT_LISTED for name, path in known.items() if name not in listed})


def listed_files(root: Path, paths: Sequence[str]) -> Found:
    """Return listed files below a directory as the images of a source that has nothing else.

    Raises:
        UnreadableInput: one is not a file, or not an image.
    """
    images = [root / path for path in paths]
    for path in images:
        if not path.is_file():
            found = "a directory" if path.is_dir() else "no such file"
            raise UnreadableInput(where=path, found=found, expected="an image file", fix="check the list of files")
        if not family_of(path):
            raise UnreadableInput(where=path, found=f"a file with {path.suffix or 'no extension'}", expected=f"an image ({_supported()})")
    return Found(root, tuple(by_name(images, root)), {})


def _walk(folder: Path, ancestors: frozenset[tuple[int, int]], left_out: dict[Path, str]) -> Iterator[Path]:
    """Yield the images under a folder; note why everything else is left out."""
    stat = folder.stat()
    ancestors |= {(stat.st_dev, stat.st_ino)}
    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith("."):
                left_out[path] = HIDDEN
                continue
            _check_slice(path)
            is_broken = entry.is_symlink() and not _leads_somewhere(path)
            if _is_directory(entry):
                yield from _walk_directory(path, ancestors, left_out)
            # A broken link to an image is a hole in the stack, so it is returned here and refused when it is opened.
            elif family_of(path) and (is_broken or entry.is_file()):
                yield path
            else:
                left_out[path] = BROKEN if is_broken else NO_IMAGE


def _walk_directory(path: Path, ancestors: frozenset[tuple[int, int]], left_out: dict[Path, str]) -> Iterator[Path]:
    """Yield a directory if it is an image itself, otherwise the images in it; nothing if it is one of its own ancestors."""
    stat = path.stat()
    if (stat.st_dev, stat.st_ino) in ancestors:
        left_out[path] = LOOP
    elif family_of(path, True):
        yield path
    else:
        yield from _walk(path, ancestors, left_out)


def _check_slice(path: Path) -> None:
    """Check that something with the name of an image file is a file: if a slice were skipped, all slices after it would shift.

    Raises:
        UnreadableInput: it is not a file.
    """
    if not family_of(path) or not _leads_somewhere(path) or path.is_file():
        return
    if not path.is_dir() or (is_image(path) and not family_of(path, True)):
        raise UnreadableInput(where=path, found="something that is not a file", expected="an image", fix="replace or rename it")


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _leads_somewhere(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a link that leads to itself
        return False


def _supported() -> str:
    return ", ".join(supported_extensions())
