"""ConvertedArray: an array whose voxels have another type than its layer says; read as the layer's type, if that is exact."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from wkpipe.errors import InputRefused, MetadataError
from wkpipe.formats.base import Position, StoredArray, UnitFacts, UnitProof, UnitWriter, Voxels
from wkpipe.storage.commit import Scratch


def can_convert(stored: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    """True if an array may be one of voxels of a narrower type: both unsigned integers, both signed ones, or both floats.

    >>> can_convert(np.dtype("uint32"), np.dtype("uint8")), can_convert(np.dtype("int8"), np.dtype("uint8"))
    (True, False)
    """
    return stored.kind == wanted.kind and stored.kind in "uif" and stored.itemsize >= wanted.itemsize


class ConvertedArray(StoredArray):
    """A read-only view of an array; every voxel that is read is checked to be the same number in the other type."""

    survives_fork = False  # as it may not survive in the array below

    def __init__(self, stored: StoredArray, dtype: np.dtype[Any]) -> None:
        super().__init__(stored.path, replace(stored.spec, dtype=dtype))
        self.stored = stored

    def read(self, start: Sequence[int], shape: Sequence[int]) -> Voxels:
        voxels = self.stored.read(start, shape)
        with np.errstate(all="ignore"):
            converted = voxels.astype(self.spec.dtype, order="F")
        if not np.array_equal(converted, voxels, equal_nan=self.spec.dtype.kind == "f"):
            found, wanted = self.stored.spec.dtype, self.spec.dtype
            raise MetadataError(
                f"{self.path}: found {found} voxels that {wanted} cannot hold, as datasource-properties.json has them; correct elementClass"
            )
        return converted

    def is_fill(self, start: Sequence[int], shape: Sequence[int]) -> bool:
        return self.stored.is_fill(start, shape)

    def read_encoded(self, chunk: Sequence[int]) -> bytes | None:  # noqa: ARG002
        """Not offered: the stored bytes are voxels of the other type.

        Raises:
            InputRefused: always.
        """
        raise self._refused()

    # -- units --------------------------------------------------------------------------------------------------

    def stored_units(self) -> Iterator[Position]:
        return self.stored.stored_units()

    def unit_files(self, unit: Sequence[int]) -> list[Path]:
        return self.stored.unit_files(unit)

    def unit_facts(self, unit: Sequence[int]) -> UnitFacts | None:
        return self.stored.unit_facts(unit)

    def prove_unit(self, unit: Sequence[int]) -> UnitProof | None:
        return self.stored.prove_unit(unit)

    def check_unit(self, unit: Sequence[int]) -> None:
        self.stored.check_unit(unit)
        spec = self.spec
        first = [u * n for u, n in zip(unit, spec.unit_shape, strict=True)]
        ends = [min(f + n, whole) for f, n, whole in zip(first, spec.unit_shape, spec.shape, strict=True)]
        for corner in itertools.product(*map(range, first, ends, spec.chunk_shape)):
            if not self.is_fill(corner, spec.chunk_shape):
                self.read(corner, [min(n, end - c) for n, end, c in zip(spec.chunk_shape, ends, corner, strict=True)])

    # -- writing ------------------------------------------------------------------------------------------------

    def _refused(self) -> InputRefused:
        return InputRefused(
            f"{self.path}: the array holds {self.stored.spec.dtype}, datasource-properties.json says {self.spec.dtype} per channel; "
            "such an array is only read: correct elementClass first"
        )

    def unit_writer(self, unit: Sequence[int], scratch: Scratch) -> UnitWriter:  # noqa: ARG002
        raise self._refused()

    def resize(self, shape: Sequence[int], scratch: Scratch) -> None:
        self.stored.resize(shape, scratch)
        self.spec = replace(self.spec, shape=self.stored.spec.shape)


def as_dtype(array: StoredArray, dtype: np.dtype[Any]) -> StoredArray:
    """Return an array whose voxels are read as `dtype`; the types must be such that `can_convert` says."""
    return array if array.spec.dtype == dtype else ConvertedArray(array, dtype)
