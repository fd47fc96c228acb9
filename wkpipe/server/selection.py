"""Selection: which files of a directory are the dataset, or the part of it that is to be uploaded.

What datasource-properties.json names belongs to it: the file itself, and all below the paths of mags and attachments. All
else stays: state directories, notes, hidden files, and whatever a link leads to that lies outside.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import google_crc32c

from wkpipe.errors import InputRefused, MagNotFound, MetadataError, UnreadableInput, one_line
from wkpipe.geometry import Mag
from wkpipe.metadata.attachments import Attachment, Attachments
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import PROPERTIES_FILE_NAME, DatasetProperties
from wkpipe.server.ledger_check import check_against_ledger
from wkpipe.stored.dataset import StoredDataset

_HIDDEN_OF_ARRAYS = frozenset({".zarray", ".zattrs", ".zgroup", ".zmetadata"})
_ODD = re.compile(r"[\x00-\x1f\x7f\\]")
_REMOTE = re.compile(r"(https?|s3|gs)://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to be sent: its path in the dataset with slashes, its size, its mtime in nanoseconds.

    One whose `content` lies in memory has the CRC-32C of that in place of the mtime; `checksum` is that of the file on the disk.
    """

    path: str
    size: int
    stamp: int
    content: bytes | None = None
    checksum: int | None = None

    def differs_on_disk(self, root: Path) -> str | None:
        """Return how the file on the disk differs, by size and mtime or as a whole; None if it does not."""
        try:
            if self.content is not None:
                return None if google_crc32c.value((root / self.path).read_bytes()) == self.checksum else "it was written meanwhile"
            status = (root / self.path).stat()
        except OSError as error:
            return error.strerror or str(error)
        return self.difference(status)

    def difference(self, status: os.stat_result) -> str | None:
        """Return how a file with this status differs; None where it does not."""
        if not stat.S_ISREG(status.st_mode):
            return "it is no file any more"
        if status.st_size != self.size:
            return f"found {status.st_size} bytes, expected {self.size}"
        return None if status.st_mtime_ns == self.stamp else "it was written meanwhile"


@dataclass(frozen=True)
class Part:
    """Which part of a dataset: layers by name (none = all), mags between two, inclusive."""

    layers: tuple[str, ...] = ()
    finest_mag: Mag | None = None
    coarsest_mag: Mag | None = None

    @property
    def is_all(self) -> bool:
        return not self.layers and self.finest_mag is None and self.coarsest_mag is None

    def has(self, mag: Mag) -> bool:
        return (self.finest_mag is None or self.finest_mag <= mag) and (self.coarsest_mag is None or mag <= self.coarsest_mag)

    def of(self, properties: DatasetProperties) -> DatasetProperties:
        """Return the properties of the part.

        Raises:
            LayerNotFound: there is no such layer.
            MagNotFound: a layer has no mag of the part.
        """
        wanted = {properties.layer(name).name for name in self.layers} or {layer.name for layer in properties.layers}
        parts = []
        for layer in properties.layers:
            if layer.name not in wanted:
                continue
            gone = [entry.mag for entry in layer.mags if not self.has(entry.mag)]
            if layer.mags and len(gone) == len(layer.mags):
                there = ", ".join(str(entry.mag) for entry in layer.mags)
                raise MagNotFound(
                    f"layer {layer.name} has no mag from {self.finest_mag or 'the finest'} to {self.coarsest_mag or 'the coarsest'} (it "
                    f"has {there}); choose others, or leave the layer out with --layer-name"
                )
            for mag in gone:
                layer = layer.without_mag(mag)
            parts.append(layer)
        view = properties.default_view_configuration
        if view is not None:
            names = {layer.name for layer in parts}
            layers = None if view.layers is None else {name: each for name, each in view.layers.items() if name in names}
            order = None if view.color_layer_order is None else tuple(name for name in view.color_layer_order if name in names)
            view = replace(view, layers=layers, color_layer_order=order)
        return replace(properties, layers=tuple(parts), default_view_configuration=view)


@dataclass(frozen=True)
class Selection:
    """The files to send, the properties last; what was left out; the dataset's name."""

    root: Path
    name: str
    files: tuple[SourceFile, ...]
    notices: tuple[str, ...]

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def select(dataset: StoredDataset, part: Part) -> Selection:
    """Find the files of a part of a dataset, and hold them against the ledger.

    Raises:
        InputRefused: the part is empty, lies on another server, or a path or a file of it is none that can be sent.
        IntegrityError: files are not those that the ledger has.
    """
    properties = part.of(dataset.properties)
    walk = _Walk(dataset.locations.dataset)
    for layer in properties.layers:
        for entry in layer.mags:
            walk.add(_mag_path(dataset, layer, entry), f"layer {layer.name}, mag {entry.mag}")
            check_against_ledger(dataset, layer, entry)
        for attachment in _attachments(layer.attachments):
            where = f"layer {layer.name}, attachment {attachment.name}"
            walk.add(_inside(attachment.path, where), where)
    if not walk.files:
        raise InputRefused(f"{walk.root}: there is nothing to upload: no layer has a file")
    walk.add(PROPERTIES_FILE_NAME, "the dataset")  # which sees whether it is a link that leads out
    described = _described(dataset, properties, part)
    walk.files.pop(PROPERTIES_FILE_NAME, None)
    return Selection(walk.root, dataset.properties.name, (*walk.files.values(), described), tuple(walk.all_notices()))


def _described(dataset: StoredDataset, properties: DatasetProperties, part: Part) -> SourceFile:
    """Return the properties file to send: as it is, unless only a part is sent."""
    file = dataset.locations.dataset / PROPERTIES_FILE_NAME
    there = file.read_bytes()
    if DatasetProperties.from_bytes(there, file) != dataset.properties:
        raise InputRefused(f"{file} changes just now; wait until the dataset is finished")
    content = there if part.is_all else properties.to_bytes()
    return SourceFile(PROPERTIES_FILE_NAME, len(content), google_crc32c.value(content), content, google_crc32c.value(there))


def _mag_path(dataset: StoredDataset, layer: LayerProperties, entry: MagProperties) -> str:
    """Return the path of a mag in the dataset."""
    path = f"{layer.name}/{dataset.mag_path(layer, entry).name}" if entry.path is None else entry.path
    return _inside(path, f"layer {layer.name}, mag {entry.mag}")


def _inside(path: str, where: str) -> str:
    """Return a path in the shortest form.

    Raises:
        InputRefused: it is on a server, absolute, leads out of the dataset, or into a hidden directory.
    """
    normal = posixpath.normpath(path)
    if _REMOTE.match(path):
        raise InputRefused(
            f"{where}: it is at {one_line(path, 200)}, not in the dataset; a server takes only what is sent to it. Leave it out with "
            "--layer-name, --finest-mag or --coarsest-mag, or put a copy in its place"
        )
    if "://" in path or normal.startswith(("/", "..")) or normal == ".":
        raise InputRefused(f"{where}: the path {one_line(path, 200)} leads out of the dataset; only what lies inside of it can be uploaded")
    if any(name.startswith(".") for name in normal.split("/")):
        raise InputRefused(f"{where}: the path {one_line(path, 200)} is hidden; move it to a directory without a dot")
    return normal


def _attachments(attachments: Attachments) -> Iterator[Attachment]:
    for each in fields(attachments):
        value = getattr(attachments, each.name)
        if isinstance(value, Attachment):
            yield value
        elif isinstance(value, tuple):
            yield from value


class _Walk:
    """Collects the files below paths of a dataset."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[str, SourceFile] = {}
        self.notices: list[str] = []
        self._real = os.path.realpath(root)
        self._left_out: dict[str, list[str]] = {}

    def add(self, path: str, where: str) -> None:
        """Add a file, or all files below a directory."""
        names = path.split("/")
        for count in range(1, len(names) + 1):
            self._check_name(names[count - 1], path)
            if (self.root / "/".join(names[:count])).is_symlink():
                self._check_link("/".join(names[:count]))
        try:
            status = (self.root / path).stat()
            if stat.S_ISDIR(status.st_mode):
                self._below(path, (os.path.realpath(self.root / path),))
            else:
                self._file(path, status)
        except FileNotFoundError:
            raise MetadataError(
                f"{where}: there is no {self.root / path}; restore it, or remove the entry from {PROPERTIES_FILE_NAME}"
            ) from None
        except OSError as error:
            raise UnreadableInput(f"{where}: {error.filename or self.root / path}: {error.strerror or error}") from None

    def all_notices(self) -> Iterator[str]:
        """Yield what the user should know of what is not sent."""
        yield from self.notices
        for why, paths in self._left_out.items():
            more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
            yield f"left out, because {why}: {one_line(', '.join(paths[:3]), 500)}{more}"

    def _below(self, directory: str, above: Sequence[str]) -> None:
        with os.scandir(self.root / directory) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            path = f"{directory}/{entry.name}"
            self._check_name(entry.name, path)
            if entry.name.startswith(".") and entry.name not in _HIDDEN_OF_ARRAYS:
                self._leave_out("hidden", path)
                continue
            if entry.is_symlink():
                self._check_link(path)
            if entry.is_dir():
                real = os.path.realpath(self.root / path) if entry.is_symlink() else f"{above[-1]}/{entry.name}"
                if real in above:
                    raise InputRefused(f"{self.root / path} is a link to a directory that it lies in; remove it")
                self._below(path, (*above, real))
            else:
                self._file(path, entry.stat())

    def _file(self, path: str, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            self._leave_out("no regular file", path)
        elif status.st_size == 0:
            self._leave_out("empty, which a server does not take", path)
        else:
            self.files[path] = SourceFile(path, status.st_size, status.st_mtime_ns)

    def _leave_out(self, why: str, path: str) -> None:
        self._left_out.setdefault(why, []).append(path)

    def _check_link(self, path: str) -> None:
        real = os.path.realpath(self.root / path)
        inside = os.path.relpath(real, self._real)
        if inside.startswith("..") or any(name.startswith(".") and name not in _HIDDEN_OF_ARRAYS for name in inside.split("/")):
            raise InputRefused(
                f"{self.root / path} is a link that leads out of the dataset to {real}; put a copy in its place, or leave its layer out "
                "with --layer-name"
            )

    def _check_name(self, name: str, path: str) -> None:
        try:
            name.encode()
        except UnicodeEncodeError:
            pass
        else:
            if not _ODD.search(name):
                return
        raise InputRefused(f"{self.root / path}: this name can not be sent (control characters, a backslash, or no UTF-8); rename it")
