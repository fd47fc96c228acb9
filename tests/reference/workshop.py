"""Helpers for the comparing tests: a directory in which things are made once for all workers, the reference package, and facts.

Facts of a dataset are plain values with the same keys for wkpipe and the reference package, so that a test can compare them as a
whole; each mag's voxels are an array.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from wkpipe.formats.base import DataFormat
from wkpipe.geometry import NDBoundingBox
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import run_here
from wkpipe.stored.axes import spatial
from wkpipe.stored.dataset import StoredDataset, box_in_mag

SCRIPTS = Path(__file__).parent / "scripts"
VOXEL_SIZE = (11.0, 11.0, 25.0)

Facts = dict[str, Any]


@contextmanager
def locked(file: Path, shared: bool = False) -> Iterator[None]:
    """Hold a lock of all workers of a test run, exclusively or shared."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


class Workshop:
    """A directory that all workers of a test run share, in which each thing is made once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(exist_ok=True)

    def once(self, name: str, make: Callable[[Path], object]) -> Path:
        """Return the path `name`, made by `make(path)` if no worker has done it before."""
        path, done = self.root / name, self.root / f"{name}.done"
        with locked(self.root / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(path, ignore_errors=True)
                make(path)
                done.touch()
        return path


class Reference:
    """The reference package, run in its own Python.

    With shards of 1024³ it needs gigabytes; no other worker's process runs at the same time as such a `heavy` one.
    """

    def __init__(self, python: Path, lock: Path) -> None:
        self._python = python
        self._lock = lock

    def _run(self, command: Sequence[str | Path], heavy: bool) -> None:
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "WK_TOKEN")}
        with locked(self._lock, shared=not heavy):
            result = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert result.returncode == 0, f"{command}\n{result.stdout[-2000:]}\n{result.stderr[-4000:]}"

    def script(self, name: str, *arguments: object, heavy: bool = False) -> None:
        """Run a script of this directory; arguments that are not texts or paths are passed as JSON."""
        texts = [str(a) if isinstance(a, (str, Path)) else json.dumps(a) for a in arguments]
        self._run([self._python, SCRIPTS / name, *texts], heavy)

    def command(self, *arguments: object, heavy: bool = False) -> None:
        """Run a command of the reference package's command line."""
        self._run([self._python.with_name("webknossos"), *map(str, arguments), "--distribution-strategy", "sequential"], heavy)

    def convert(self, source: Path, target: Path, *options: object, heavy: bool = False) -> None:
        voxel_size = ",".join(map(str, VOXEL_SIZE))
        self.command("convert", source, target, "--voxel-size", voxel_size, *options, heavy=heavy)

    def downsample(self, target: Path, shard: int = 64, heavy: bool = False, **values: object) -> None:
        """Downsample with its API, which unlike its command line accepts shapes; small shards keep it quick."""
        self.script("downsample_dataset.py", target, {"shard": shard, "chunk": 32} | values, heavy=heavy)

    def facts(self, out: Path, *datasets: Path) -> list[Facts]:
        """Return the facts of datasets as the reference package reads them."""
        self.script("read_dataset.py", out, *datasets)
        return [_load_facts(out / str(number)) for number in range(len(datasets))]


def _load_facts(directory: Path) -> Facts:
    facts: Facts = json.loads((directory / "facts.json").read_text())
    for layer in facts["layers"].values():
        for mag in layer["mags"].values():
            mag["voxels"] = np.load(directory / mag["voxels"], mmap_mode="r")
    return facts


# -- wkpipe -----------------------------------------------------------------------------------------------------------


def run_wkpipe(target: Path, **values: Any) -> None:
    """Convert (with a `source`) or downsample with wkpipe."""
    if "source" in values:
        values = {"voxel_size": VOXEL_SIZE} | values
    run_here(make_plan(load_config({"target": target} | values, "test"), Sizing.local(2)))


def our_facts(root: Path) -> Facts:
    """Return the facts of a dataset as wkpipe reads them."""
    dataset = StoredDataset.open(root)
    layers = {}
    for layer in dataset.properties.layers:
        mags = {}
        box = layer.bounding_box()
        for entry in layer.mags:
            array = dataset.open_mag(layer, entry)
            inside = box_in_mag(box, entry.mag)
            spec = array.spec
            mags[str(entry.mag)] = {
                "voxels": array.read(inside.topleft, inside.size),
                "box": box_facts(box.align_with_mag(entry.mag, ceil=True)),
                "chunk": list(spatial(spec, spec.chunk_shape)),
                "shard": list(spatial(spec, spec.shard_shape)),
                "compressed": spec.compression.is_on,
            }
        layers[layer.name] = {
            "category": str(layer.category),
            "data_format": str(DataFormat(layer.data_format)),
            "dtype": str(layer.dtype),
            "num_channels": layer.num_channels,
            "box": box_facts(box),
            "largest_segment_id": layer.largest_segment_id,
            "mags": mags,
        }
    return {"name": dataset.properties.name, "voxel_size": list(dataset.properties.voxel_size.nm), "layers": layers}


def box_facts(box: NDBoundingBox) -> dict[str, list[int]]:
    """Return a box's bounds by axis; the reference package does not show c if the axes are c, x, y, z."""
    axes = box.axes[1:] if box.axes == ("c", "x", "y", "z") else box.axes
    return {axis: list(box.bounds(axis)) for axis in axes}


# -- comparing --------------------------------------------------------------------------------------------------------


def assert_same_facts(ours: Facts, theirs: Facts, but: Sequence[str] = (), same_shapes: bool = True) -> None:
    """Compare two datasets' facts, with their voxels and the order of layers and mags; `but` names keys that may differ.

    Without `same_shapes`, the shapes of chunks and shards may differ.
    """
    but = [*but, *([] if same_shapes else ["chunk", "shard"])]
    assert _plain(ours, but) == _plain(theirs, but)
    for name, layer in ours["layers"].items():
        for mag, facts in layer["mags"].items():
            expected = theirs["layers"][name]["mags"][mag]["voxels"]
            assert facts["voxels"].dtype == expected.dtype
            np.testing.assert_array_equal(facts["voxels"], expected, err_msg=f"layer {name}, mag {mag}")


def _plain(value: Any, but: Sequence[str]) -> Any:
    """Return facts without voxels, and as lists where order counts."""
    if isinstance(value, dict):
        return [[key, _plain(item, but)] for key, item in value.items() if key not in ("voxels", *but)]
    return value
