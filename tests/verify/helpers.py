"""Shared by the tests of verify and info: small datasets of made-up images, and functions for their files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from wkpipe.geometry import Mag
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import run_here
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.record import Record
from wkpipe.stored.locations import Locations

FORMATS = ("zarr3", "zarr", "wkw")
LAYERS = {"zarr3": "color", "zarr": "em_data", "wkw": "Raw"}
SHARD = 32
METADATA = {"zarr.json", ".zarray", ".zattrs", ".zgroup", "header.wkw", "datasource-properties.json"}


def write_images(directory: Path, seed: int = 0) -> Path:
    """Write 40 slices of 70 x 50 noise; the first storage shard and some chunks of others are empty."""
    directory.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for z in range(40):
        page = rng.integers(1, 256, (50, 70), dtype=np.uint8)
        if z < SHARD:
            page[:SHARD, :SHARD] = 0
        page[40:, :16] = 0
        tifffile.imwrite(directory / f"slice_{z:03}.tif", page)
    return directory


def run(target: Path, **values: Any) -> None:
    """Plan and run with the given config values."""
    run_here(make_plan(load_config({"target": str(target), **values}, "test"), Sizing.local(2)))


def make_dataset(images: Path, target: Path, data_format: str, **values: Any) -> Path:
    """Convert the images, with small chunks and shards."""
    shard = {} if data_format == "zarr" else {"shard_shape": SHARD}
    layer = {"layer_name": LAYERS[data_format], "category": "color"}
    run(target, source=str(images), voxel_size=[10, 10, 20], data_format=data_format, chunk_shape=16, **shard, **layer, **values)
    return target


def data_files(dataset: Path) -> list[Path]:
    """Return all files that hold voxels."""
    files = [path for path in dataset.rglob("*") if path.is_file() and ".wkpipe" not in path.parts]
    return sorted(path for path in files if path.name not in METADATA)


def names_of(dataset: Path, file: Path) -> tuple[str, str, str]:
    """Return the layer, mag and storage shard of a data file, from its path alone."""
    layer, mag, *key = file.relative_to(dataset).parts
    name = "/".join(key)
    if name.startswith("z"):
        z, y, x = map(int, re.findall(r"\d+", name))
        return layer, mag, f"0.{x}.{y}.{z}"
    if name.startswith("c/"):
        return layer, mag, name.removeprefix("c/").replace("/", ".")
    return layer, mag, "0.0.0.0"  # blocks of 1024³ voxels of chunk files


def snapshot(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return mtime, mode and content of everything below a directory."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        found[str(path.relative_to(root))] = (status.st_mtime_ns, status.st_mode, path.read_bytes() if path.is_file() else b"")
    return found


def ledger_directory(dataset: Path, layer: str, mag: str) -> Path:
    return Locations.of(dataset).ledger(layer, Mag(mag)).path()


def replace_records(dataset: Path, layer: str, mag: str, records: list[Record]) -> None:
    """Replace the records of a mag's ledger."""
    directory = ledger_directory(dataset, layer, mag)
    for segment in directory.glob("*.segment"):
        segment.unlink()
    (directory / "000001-test.segment").write_bytes(b"".join(record.to_line() for record in records))


def records_of(dataset: Path, layer: str, mag: str) -> list[Record]:
    return list(Ledger.load(ledger_directory(dataset, layer, mag)).records.values())


def edit_json(path: Path, **values: Any) -> None:
    """Change keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
