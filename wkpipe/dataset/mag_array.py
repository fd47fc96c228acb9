"""MagArray: the array of one mag, opened when needed and again when it changed; it knows what the ledger knows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from wkpipe.dataset.live_properties import LiveProperties
from wkpipe.errors import MissingShard
from wkpipe.formats.base import ArraySpec, DataFormat, Position, StoredArray, Voxels
from wkpipe.formats.chunked import cells_between
from wkpipe.geometry import Mag, Vec3Int
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.storage.ledger import SEGMENT_SUFFIX, Ledger
from wkpipe.storage.record import DIRTY
from wkpipe.stored.axes import spatial
from wkpipe.stored.dataset import wkw_shape
from wkpipe.stored.identity import current_ledger

_METADATA_FILES: Final = {DataFormat.WKW: "header.wkw", DataFormat.ZARR: ".zarray", DataFormat.ZARR3: "zarr.json"}


@dataclass(frozen=True)
class ArrayInfo:
    """How a mag lies on disk. Shapes are x, y, z in voxels of the mag; `shape` and `axes` are in array order.

    compression_mode: whether chunks are compressed. voxel_type: dtype of one channel.
    """

    data_format: DataFormat
    axes: tuple[str, ...]
    shape: Position
    num_channels: int
    voxel_type: np.dtype[Any]
    chunk_shape: Vec3Int
    shard_shape: Vec3Int
    chunks_per_shard: Vec3Int
    compression_mode: bool

    @classmethod
    def of(cls, spec: ArraySpec, num_channels: int) -> ArrayInfo:
        """Return what is told of an array to the outside."""
        chunk, shard = spatial(spec, spec.chunk_shape), spatial(spec, spec.shard_shape)
        dtype = spec.dtype.newbyteorder("=")
        return cls(spec.data_format, spec.axes, spec.shape, num_channels, dtype, chunk, shard, shard // chunk, spec.compression.is_on)


class MagArray:
    """The array of one mag of one layer; every question is answered from the files as they are now."""

    def __init__(self, live: LiveProperties, layer: str, mag: Mag) -> None:
        self.live = live
        self.layer = layer
        self.mag = mag
        self._opened: tuple[object, StoredArray] | None = None
        self._ledger: tuple[object, Ledger] | None = None
        self._complete: set[object] = set()

    def entry(self) -> tuple[LayerProperties, MagProperties]:
        """Return the present entries of layer and mag.

        Raises:
            LayerNotFound, MagNotFound: they were deleted.
        """
        layer = self.live.layer(self.layer)
        return layer, layer.mag(self.mag)

    def path(self) -> Path:
        """Return the directory of the array.

        Raises:
            InputRefused: it lies on a server.
        """
        return self.live.stored().mag_path(*self.entry())

    def is_owned(self) -> bool:
        """Tell whether the array lies in its layer's directory; links and references are read only."""
        return self.live.stored().owns(*self.entry())

    def open(self) -> StoredArray:
        """Return the array, opened again if its metadata or the layer's entry changed.

        Raises:
            MetadataError: its metadata are missing or broken.
        """
        layer, entry = self.entry()
        stored = self.live.stored()
        path = stored.mag_path(layer, entry)
        name = _METADATA_FILES.get(layer.data_format)
        try:
            status = (path / name).stat() if name else None
        except OSError:
            status = None
        key = (path, layer.axes, layer.dtype, wkw_shape(layer, entry), status and (status.st_ino, status.st_size, status.st_mtime_ns))
        if self._opened is None or self._opened[0] != key or status is None:
            self._opened = (key, stored.open_mag(layer, entry))
        return self._opened[1]

    # -- reading ------------------------------------------------------------------------------------------------

    def read(self, start: Position, shape: Position) -> Voxels:
        """Return a region in array order, counted in voxels of the mag; zeros where nothing was ever written.

        Raises:
            MissingShard: a storage shard that the ledger knows is gone.
            UnreadableInput: a storage shard has no file, and the ledger, which says whether it is empty or lost, cannot be read.
            DamagedShard: a chunk can not be decoded.
        """
        array = self.open()
        self._check_present(array, start, [a + n for a, n in zip(start, shape, strict=True)])
        return array.read(start, shape)

    def _check_present(self, array: StoredArray, start: Sequence[int], end: Sequence[int]) -> None:
        """Look whether files that must be there are: an absent one would read as zeros."""
        spec = array.spec
        is_sharded = spec.is_sharded
        if not is_sharded and not self.ledger(array):
            return
        for unit in cells_between(start, [min(a, b) for a, b in zip(end, spec.shape, strict=True)], spec.unit_shape):
            if is_sharded and array.unit_files(unit):
                continue
            record = self.ledger(array).get(unit)
            if record is None or record.origin == DIRTY or record.proof.is_fill:
                continue
            # Many small files are counted once per handle and state of the ledger: that takes a listing of directories.
            if not is_sharded and (unit, record.age) in self._complete:
                continue
            files = 0 if is_sharded else len(array.unit_files(unit))
            if files < record.proof.files:
                lost = record.proof.files - files
                raise MissingShard(
                    f"layer {self.layer}, mag {self.mag}: storage shard {'.'.join(map(str, unit))} has lost {lost} of {record.proof.files} "
                    f"file(s) that the ledger recorded; restore them, or write or make this part again"
                )
            self._complete.add((unit, record.age))

    def ledger(self, array: StoredArray) -> Ledger:
        """Return what the ledger holds now of an array; read again only when a segment was added or grew.

        It is empty if another tool has made the mag again: what is recorded is of an earlier array then.

        Raises:
            UnreadableInput: it belongs to somebody who lets nobody else read it.
        """
        directory = self.live.locations.ledger(self.layer, self.mag)
        try:
            entries = [entry for entry in os.scandir(directory) if entry.name.endswith(SEGMENT_SUFFIX)]
            segments = tuple(sorted((entry.name, entry.stat(follow_symlinks=False).st_size) for entry in entries))
        except FileNotFoundError:
            segments = ()
        key = (id(array), segments)
        if self._ledger is None or self._ledger[0] != key:
            self._ledger = (key, current_ledger(self.live.locations, self.layer, self.mag, array))
        return self._ledger[1]
