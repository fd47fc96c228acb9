"""Helpers of the tests of plans and steps: small datasets, a plain oracle of whole pyramids, pictures of directories."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.content import content_of
from tests.oracle.pyramid import coarser
from wkpipe.formats import create_array, make_spec, open_array
from wkpipe.formats.base import Compression, StoredArray
from wkpipe.geometry import Mag, NDBoundingBox
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import DatasetProperties, read_properties
from wkpipe.metadata.units import VoxelSize
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.plan import Plan
from wkpipe.runs.run import run_here
from wkpipe.storage.local import object_at
from wkpipe.storage.scratch import Scratch
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.locations import Locations

Array = np.ndarray[Any, np.dtype[Any]]
SIZING = Sizing.local(1)


@dataclass
class Layer:
    """A layer to write: `data` (in the order of `axes`) are the voxels of its box in `mag`; the box begins at `topleft` (x, y, z)."""

    data: Array
    topleft: tuple[int, int, int] = (0, 0, 0)
    axes: tuple[str, ...] = ("c", "x", "y", "z")
    data_format: str = "zarr3"
    chunk: tuple[int, int, int] = (8, 8, 8)
    shard: tuple[int, int, int] | None = (16, 16, 16)
    category: str = "color"
    mag: Mag = field(default_factory=lambda: Mag(1))
    compression: Compression | bool = True
    name: str = "layer"
    cut: tuple[int, int, int] = (0, 0, 0)
    """How many mag-1 voxels the box ends before the last whole voxel of `mag`."""

    @property
    def box(self) -> NDBoundingBox:
        """In mag-1 voxels."""
        start, end = [], []
        for axis, size in zip(self.axes, self.data.shape, strict=True):
            i = "xyz".find(axis)
            at = self.topleft[i] if i >= 0 else 0
            step = self.mag.to_tuple()[i] if i >= 0 else 1
            start.append(at * step)
            end.append((at + size) * step - (self.cut[i] if i >= 0 else 0))
        return NDBoundingBox(start, [b - a for a, b in zip(start, end, strict=True)], self.axes)

    @property
    def channels(self) -> int:
        return self.data.shape[self.axes.index("c")] if "c" in self.axes else 1


def write_dataset(root: Path, *layers: Layer, voxel_size: Sequence[float] = (1, 1, 1), extra: Mapping[str, Any] | None = None) -> None:
    """Write a dataset as another tool would: arrays and properties, no ledger."""
    properties = DatasetProperties(root.name, VoxelSize(tuple(voxel_size)), extra=extra or {})
    for layer in layers:
        entry = LayerProperties.for_box(layer.name, layer.category, layer.data_format, layer.data.dtype, layer.box, layer.channels)
        length = layer.shard[0] if layer.data_format == "wkw" and layer.shard else None
        entry = entry.with_mag(MagProperties(mag=layer.mag, path=f"./{layer.name}/{layer.mag}", cube_length=length))
        properties = properties.with_layer(entry)
        write_mag(root / layer.name / str(layer.mag), layer, entry.axes, root / "scratch")
    Locations(root, root / ".wkpipe").properties_file().create(properties)
    remove_tree(root / ".wkpipe")
    remove_tree(root / "scratch")


def remove_tree(path: Path) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True)


def write_mag(path: Path, layer: Layer, axes: tuple[str, ...], scratch: Path) -> StoredArray:
    """Write one array; units without data get no file."""
    lead = layer.data if axes == layer.axes else layer.data[np.newaxis]
    start = [layer.topleft["xyz".index(axis)] if axis in "xyz" else 0 for axis in axes]
    end = [a + n for a, n in zip(start, lead.shape, strict=True)]
    kind, shard = open_format(layer.data_format), layer.shard or layer.chunk
    spec = make_spec(kind, axes, end, layer.data.dtype, layer.channels, layer.chunk, shard, layer.compression)
    array = create_array(path, spec, Scratch(scratch))
    write_region(array, lead, start, Scratch(scratch))
    return array


def open_format(name: str) -> Any:
    from wkpipe.formats.base import DataFormat

    return DataFormat(name)


def write_region(array: StoredArray, data: Array, start: Sequence[int], scratch: Scratch) -> None:
    """Write all units that a region touches again; voxels outside the region are zero."""
    spec = array.spec
    end = [a + n for a, n in zip(start, data.shape, strict=True)]
    for unit in itertools.product(*(range(a // u, -(-b // u)) for a, b, u in zip(start, end, spec.unit_shape, strict=True))):
        origin = [u * n for u, n in zip(unit, spec.unit_shape, strict=True)]
        low = [max(a, o) for a, o in zip(start, origin, strict=True)]
        high = [min(b, o + n) for b, o, n in zip(end, origin, spec.unit_shape, strict=True)]
        with array.unit_writer(unit, scratch) as writer:
            cells = [range((a - o) // c, -(-(b - o) // c)) for a, b, o, c in zip(low, high, origin, spec.chunk_shape, strict=True)]
            for cell in itertools.product(*cells):
                first = [o + p * c for o, p, c in zip(origin, cell, spec.chunk_shape, strict=True)]
                block = np.zeros(spec.chunk_shape, spec.dtype, order="F")
                a = [max(f, lo) for f, lo in zip(first, low, strict=True)]
                b = [min(f + c, hi) for f, c, hi in zip(first, spec.chunk_shape, high, strict=True)]
                block[tuple(slice(p - f, q - f) for p, q, f in zip(a, b, first, strict=True))] = data[
                    tuple(slice(p - s, q - s) for p, q, s in zip(a, b, start, strict=True))
                ]
                writer.append(cell, writer.encode(block))
            writer.commit()


def noise(shape: Sequence[int], dtype: Any, seed: int = 0, few: bool = True) -> Array:
    """Return noise with empty regions, either of few different values (so that modes tie and medians meet) or of the full range."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        data = rng.normal(size=shape).astype(kind) if not few else rng.integers(-3, 4, shape).astype(kind)
    else:
        info = np.iinfo(kind)
        low, high = (max(info.min, -3), 4) if few else (info.min, info.max)
        data = rng.integers(low, high, shape, dtype=kind, endpoint=not few)
    data = np.asfortranarray(data)
    if rng.integers(2):
        data[..., : shape[-1] // 3] = 0
    if rng.integers(2):
        data[..., : shape[-2] // 2, :] = 0
    return data


# -- the oracle -----------------------------------------------------------------------------------------------------


def mag_box(layer: Layer, mag: Mag) -> tuple[list[int], list[int]]:
    """First and past-the-last voxel (x, y, z) of a mag that the layer's box touches."""
    first = [a // m for a, m in zip(layer.box.topleft_xyz, mag.to_tuple(), strict=True)]
    end = [-(-b // m) for b, m in zip(layer.box.bottomright_xyz, mag.to_tuple(), strict=True)]
    return first, end


def expected_mags(layer: Layer, mags: Sequence[Mag], mode: str) -> dict[Mag, Array]:
    """Return the voxels of the coarser mags (of their boxes), each made from the one before."""
    result: dict[Mag, Array] = {}
    order = [*(i for i, axis in enumerate(layer.axes) if axis not in "xyz"), *(layer.axes.index(axis) for axis in "xyz")]
    voxels, finer = layer.data.transpose(order), layer.mag
    for mag in mags:
        factors = [b // a for a, b in zip(finer.to_tuple(), mag.to_tuple(), strict=True)]
        start, end = mag_box(layer, mag)
        voxels = coarser(voxels, mag_box(layer, finer)[0], start, end, factors, mode)
        result[mag] = voxels.transpose(np.argsort(order))
        finer = mag
    return result


def stored_voxels(root: Path, layer: Layer, mag: Mag) -> tuple[Array, Array]:
    """Return the voxels of a mag's box, and all voxels from the origin to 40 past the box with those of the box set to 0."""
    dataset = StoredDataset.open(root)
    properties = dataset.layer(layer.name)
    array = dataset.open_mag(properties, properties.mag(mag))
    start, end = mag_box(layer, mag)
    stop = [end["xyz".index(axis)] + 40 if axis in "xyz" else n for axis, n in zip(array.spec.axes, array.spec.shape, strict=True)]
    whole = array.read([0] * len(stop), stop)
    inside = tuple(slice(start["xyz".index(axis)], end["xyz".index(axis)]) if axis in "xyz" else slice(None) for axis in array.spec.axes)
    box = whole[inside].copy()
    whole[inside] = 0
    return (box if array.spec.axes == layer.axes else box[0]), whole


def check_pyramid(root: Path, layer: Layer, mode: str, mags: Sequence[Mag] | None = None, note: str = "") -> None:
    """Compare every coarser mag with the oracle."""
    if mags is None:
        mags = sorted(entry.mag for entry in read_properties(object_at(root / "datasource-properties.json")).layer(layer.name).mags)
        assert mags[0] == layer.mag, note
        mags = mags[1:]
    assert mags, f"no coarser mag was made; {note}"
    for mag, want in expected_mags(layer, mags, mode).items():
        got, outside = stored_voxels(root, layer, mag)
        assert got.dtype == want.dtype, f"mag {mag}; {note}"
        assert got.shape == want.shape, f"mag {mag}; {note}"
        different = np.argwhere(~((got == want) | ((got != got) & (want != want))))
        assert not len(different), (
            f"mag {mag}: {len(different)} of {want.size} voxels differ, first {different[0]}: "
            f"found {got[tuple(different[0])]}, expected {want[tuple(different[0])]}; {note}"
        )
        assert not outside.any(), f"mag {mag}: voxels outside the box at {np.argwhere(outside)[0]}; {note}"


# -- runs -----------------------------------------------------------------------------------------------------------


def plan_of(root: Path, sizing: Sizing = SIZING, **values: Any) -> Plan:
    return make_plan(load_config({"target": root, **values}, "test"), sizing)


def run(root: Path, sizing: Sizing = SIZING, **values: Any) -> Plan:
    """Plan and run; return the plan."""
    plan = plan_of(root, sizing, **values)
    run_here(plan)
    return plan


def data_files(root: Path) -> dict[str, str]:
    """Return the hash of every file of a dataset but wkpipe's own."""
    files = (path for path in sorted(root.rglob("*")) if path.is_file() and ".wkpipe" not in path.relative_to(root).parts)
    return {path.relative_to(root).as_posix(): hashlib.sha256(content_of(path)).hexdigest() for path in files}


def tree(root: Path) -> dict[str, tuple[int, int, int]]:
    """Return a picture of a directory tree: inode, size and mtime of everything in it, including the root."""
    return {str(path): (s.st_ino, s.st_size, s.st_mtime_ns) for path in [root, *root.rglob("*")] for s in [path.lstat()]}


def shards(root: Path, layer: str = "layer", mag: str = "1") -> list[Path]:
    """Return the data files of a mag."""
    names = ("zarr.json", ".zarray", "header.wkw", ".zattrs")
    return sorted(path for path in (root / layer / mag).rglob("*") if path.is_file() and path.name not in names)


def properties_json(root: Path) -> Any:
    return json.loads((root / "datasource-properties.json").read_text())


def mags_of(root: Path, layer: str = "layer") -> list[str]:
    return [str(entry.mag) for entry in read_properties(object_at(root / "datasource-properties.json")).layer(layer).mags]


__all__ = [name for name in dir() if not name.startswith("_")] + ["open_array"]
