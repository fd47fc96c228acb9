"""SegmentationLayer: a layer whose voxels are ids of segments."""

from __future__ import annotations

import operator

from wkpipe.dataset.layer import Layer
from wkpipe.errors import InputRefused

_LOWEST, _HIGHEST = -(2**63), 2**64 - 1


class SegmentationLayer(Layer):
    """A layer of category segmentation; it knows its largest segment id."""

    @property
    def largest_segment_id(self) -> int | None:
        """The largest id of a segment in the layer, None where it is not known. It is not found out by writing.

        Raises:
            InputRefused: on setting, not an integer of at most 64 bits.
            NotWritable: on setting, the dataset is read-only.
        """
        return self._properties.largest_segment_id

    @largest_segment_id.setter
    def largest_segment_id(self, value: int | None) -> None:
        self._replace(largest_segment_id=None if value is None else checked_segment_id(value))


def checked_segment_id(value: object) -> int:
    """Return a segment id as a plain integer.

    Raises:
        InputRefused: not an integer of at most 64 bits.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = _HIGHEST + 1
    if not _LOWEST <= number <= _HIGHEST:
        raise InputRefused(f"largest segment id {value!r} is not valid: expected an integer of at most 64 bits")
    return number
