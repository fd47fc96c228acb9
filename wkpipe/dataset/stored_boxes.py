"""The boxes of the stored files of an array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from wkpipe.formats.base import Position, StoredArray
from wkpipe.formats.chunk_files import ChunkFilesArray
from wkpipe.geometry import Mag, NDBoundingBox
from wkpipe.stored.channels import Channels


def stored_boxes(array: StoredArray, axes: Sequence[str], channels: Channels, mag: Mag) -> Iterator[NDBoundingBox]:
    """Yield the boxes of storage shards, or of chunks if every chunk is a file, with these axes and in mag-1 voxels."""
    spec = array.spec
    shape = spec.chunk_shape if isinstance(array, ChunkFilesArray) else spec.unit_shape
    found: Iterator[Position] = array.names.all_present() if isinstance(array, ChunkFilesArray) else array.stored_units()
    seen: set[NDBoundingBox] = set()
    for position in found:
        places = {axis: (p * n, n) for axis, p, n in zip(spec.axes, position, shape, strict=True)}
        first, length = places.get("c", (channels.first, channels.count))
        if first < channels.end and first + length > channels.first:
            places["c"] = (0, channels.count)
            here = NDBoundingBox([places.get(axis, (0, 1))[0] for axis in axes], [places.get(axis, (0, 1))[1] for axis in axes], axes)
            if here not in seen:
                seen.add(here)
                yield here.from_mag_to_mag1(mag)
