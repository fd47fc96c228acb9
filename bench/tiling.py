"""Make datasets from datasets without decoding: repeat a layer along its axes, or join layers by hard links."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from wkpipe.formats import create_array, make_spec, open_array
from wkpipe.formats.base import StoredArray
from wkpipe.storage.scratch import Scratch

PROPERTIES: Final = "datasource-properties.json"
_READ_PIECE: Final = 8 << 20


def repeat_dataset(source: Path, target: Path, times: tuple[int, int, int]) -> None:
    """Make a dataset of one layer in mag 1 that repeats another one `times` along x, y, z.

    The encoded chunks are copied unchanged, so the layer must start at the origin and consist of whole chunks.
    """
    properties = json.loads((source / PROPERTIES).read_text(encoding="utf-8"))
    (layer,) = properties["dataLayers"]
    (mag,) = layer["mags"]
    path = Path(layer["name"]) / str(mag["path"]).rsplit("/", 1)[-1]
    shutil.copytree(source, target, ignore=lambda folder, _: ["c"] if Path(folder) == source / path else [])
    (target / path / "zarr.json").unlink()
    box = layer["boundingBox"]
    size = [box["width"], box["height"], box["depth"]]
    old = open_array(source / path, layer["dataFormat"])
    _, *chunk = old.spec.chunk_shape
    if any(box["topLeft"]) or any(n % c for n, c in zip(size, chunk, strict=True)):
        raise ValueError(f"{source}: a layer of {size} voxels from {box['topLeft']} cannot be repeated without decoding")
    box["width"], box["height"], box["depth"] = (n * t for n, t in zip(size, times, strict=True))
    (target / PROPERTIES).write_text(json.dumps(properties), encoding="utf-8")
    end = [old.spec.shape[0], box["width"], box["height"], box["depth"]]
    _, *shard = old.spec.shard_shape
    spec = make_spec(old.spec.data_format, old.spec.axes, end, old.spec.dtype, end[0], chunk, shard, old.spec.compression)
    scratch = Scratch(target / ".tmp")
    new = create_array(target / path, spec, scratch)
    grid = [n // c for n, c in zip(size, chunk, strict=True)]
    _write_units(old, new, grid, [n // c for n, c in zip(end[1:], chunk, strict=True)], scratch)
    shutil.rmtree(scratch.directory, ignore_errors=True)


def _write_units(old: StoredArray, new: StoredArray, grid: Sequence[int], whole: Sequence[int], scratch: Scratch) -> None:
    """Fill the units of `new` slice by slice, like a converted mag; `grid` and `whole` count the chunks of both along x, y, z."""
    _, *per_unit = new.spec.chunks_per_unit
    for unit in itertools.product(*(range(-(-n // p)) for n, p in zip(whole, per_unit, strict=True))):
        first = [u * p for u, p in zip(unit, per_unit, strict=True)]
        counts = [min(p, n - f) for p, n, f in zip(per_unit, whole, first, strict=True)]
        with new.unit_writer((0, *unit), scratch) as writer:
            for inside in (position[::-1] for position in itertools.product(*map(range, reversed(counts)))):
                from_old = [(f + i) % n for f, i, n in zip(first, inside, grid, strict=True)]
                writer.append((0, *inside), old.read_encoded((0, *from_old)))
            writer.commit()


def link_dataset(sources: Sequence[Path], target: Path) -> None:
    """Join the layers of some datasets in a new one; data files are hard links, because those of mag 1 are never changed."""
    layers: list[Any] = []
    properties: dict[str, Any] = {}
    for source in sources:
        shutil.copytree(source, target, copy_function=_link_data, dirs_exist_ok=True)
        properties = json.loads((source / PROPERTIES).read_text(encoding="utf-8"))
        layers += properties["dataLayers"]
    (target / PROPERTIES).write_text(json.dumps(properties | {"dataLayers": layers}), encoding="utf-8")


def _link_data(source: str, target: str) -> None:
    name = Path(source).name
    if name.startswith(".") or name.endswith(".json") or name == "header.wkw":
        Path(target).unlink(missing_ok=True)
        shutil.copyfile(source, target)
    else:
        os.link(source, target)


def read_through(directory: Path) -> None:
    """Read all files of a directory once, so that they are in the page cache."""
    buffer = bytearray(_READ_PIECE)
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass
