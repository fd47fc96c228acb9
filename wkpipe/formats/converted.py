"""ConvertedArray: an array with another voxel type than its layer; its voxels are read as the layer's type if that is exact."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from wkpipe.errors import MetadataError, NotWritable
from wkpipe.formats.base import Position, StoredArray, UnitFacts, UnitProof, UnitWriter, Voxels
from wkpipe.storage.scratch import Scratch


def can_convert(stored: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    """True if an array may be read as a narrower type: both unsigned integers, both signed integers, or both floats.

    >>> can_convert(np.dtype("uint32"), np.dtype("uint8")), can_convert(np.dtype("int8"), np.dtype("uint8"))
    (True, False)
    """
    return stored.kind == wanted.kind and stored.kind in "uif" and stored.itemsize >= wanted.itemsize


class ConvertedArray(StoredArray):
    """A read-only view of an array in another type; every voxel that is read is checked to be the same number."""

    survives_fork = False  # the array below may not survive a fork

    def __init__(self, stored: StoredArray, dtype: np.dtype[Any]) -> None:
        super().__init__(stored.place, replace(stored.spec, dtype=dtype))
        self.stored = stored

    def read(self, start: Sequence[int], shape: Sequence[int]) -> Voxels:
        voxels = self.stored.read(start, shape)
        with np.errstate(all="ignore"):
            converted = voxels.astype(self.spec.dtype, order="F")
        if not np.array_equal(converted, voxels, equal_nan=self.spec.dtype.kind == "f"):
            found, wanted = self.stored.spec.dtype, self.spec.dtype
            raise MetadataError(
                where=self.path,
                found=f"{found} voxels that {wanted} cannot hold",
                expected=f"{wanted} as datasource-properties.json says",
                fix="correct elementClass",
            )
        return converted

    def is_fill(self, start: Sequence[int], shape: Sequence[int]) -> bool:
        return self.stored.is_fill(start, shape)

    def read_encoded(self, chunk: Sequence[int]) -> bytes | None:  # noqa: ARG002
        """Refuse: the stored bytes are voxels of the other type.

        Raises:
            NotWritable: always.
        """
        raise self._refused()

    # -- units --------------------------------------------------------------------------------------------------

    def stored_units(self) -> Iterator[Position]:
        return self.stored.stored_units()

    def unit_keys(self, unit: Sequence[int]) -> list[str]:
        return self.stored.unit_keys(unit)

    def unit_facts(self, unit: Sequence[int]) -> UnitFacts | None:
        return self.stored.unit_facts(unit)

    def prove_unit(self, unit: Sequence[int]) -> UnitProof | None:
        return self.stored.prove_unit(unit)

    def note_reads(self, units: Iterable[Position]) -> None:
        self.stored.note_reads(units)

    def proof_of_reads(self, unit: Position) -> UnitProof | None:
        return self.stored.proof_of_reads(unit)

    def check_unit(self, unit: Sequence[int]) -> None:
        self.stored.check_unit(unit)
        spec = self.spec
        first = [u * n for u, n in zip(unit, spec.unit_shape, strict=True)]
        ends = [min(f + n, whole) for f, n, whole in zip(first, spec.unit_shape, spec.shape, strict=True)]
        for corner in itertools.product(*map(range, first, ends, spec.chunk_shape)):
            if not self.is_fill(corner, spec.chunk_shape):
                self.read(corner, [min(n, end - c) for n, end, c in zip(spec.chunk_shape, ends, corner, strict=True)])

    # -- writing ------------------------------------------------------------------------------------------------

    def _refused(self) -> NotWritable:
        return NotWritable(
            "such an array is read only",
            where=self.path,
            found=f"{self.stored.spec.dtype} in the array",
            expected=f"{self.spec.dtype} per channel as datasource-properties.json says",
            fix="correct elementClass first",
        )

    def unit_writer(self, unit: Sequence[int], scratch: Scratch) -> UnitWriter:  # noqa: ARG002
        raise self._refused()

    def resize(self, shape: Sequence[int], scratch: Scratch) -> None:
        self.stored.resize(shape, scratch)
        self.spec = replace(self.spec, shape=self.stored.spec.shape)


def as_dtype(array: StoredArray, dtype: np.dtype[Any]) -> StoredArray:
    """Return an array that reads its voxels as `dtype`; `can_convert` must allow it."""
    return array if array.spec.dtype == dtype else ConvertedArray(array, dtype)
