"""Every golden step of median, mode, max and min, made again by the whole of wkpipe: plan, tasks, engine, publish.

The reference package made the golden datasets. For each of their layers a fresh dataset is written with the
golden voxels of the finest mag, in the golden layout. Runs make its coarser mags, whose voxels must be the golden
ones. A step is one (mag → coarser mag) of one time point and channel, as in `reference_check.py` beside the data.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.material import GOLDEN
from wkpipe import Dataset, Mag
from wkpipe.metadata.properties import read_properties
from wkpipe.plan.build import make_downsample_plan
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.plan import Plan
from wkpipe.plan.request import DownsampleRequest, Storing
from wkpipe.runs.run import run_here
from wkpipe.sampling import InterpolationMode, SamplingMode
from wkpipe.storage.local import object_at

MODES = ("median", "mode", "max", "min")
OTHER_MODES = ("nearest", "bilinear", "bicubic")  # the reference's depend on its tiles, see behaviour.md §5.6
STEPS_IN_ALL = 94


@dataclass(frozen=True)
class GoldenLayer:
    """One layer of a golden dataset."""

    dataset: str
    name: str

    @property
    def entry(self) -> Any:
        return read_properties(object_at(GOLDEN / self.dataset / "datasource-properties.json")).layer(self.name)

    @property
    def mode(self) -> str:
        if self.name in (*MODES, *OTHER_MODES):
            return self.name
        return "mode" if self.entry.category == "segmentation" else "median"

    @property
    def mags(self) -> list[Mag]:
        return [entry.mag for entry in self.entry.mags]

    def voxels(self, mag: Mag) -> np.ndarray[Any, Any]:
        with np.load(GOLDEN / f"{self.dataset}.npz") as file:
            return file[f"{self.name}/{mag}"]

    @property
    def steps(self) -> int:
        return (len(self.mags) - 1) * math.prod(self.voxels(self.mags[0]).shape[:-3])

    def __str__(self) -> str:
        return f"{self.dataset}-{self.name}"


def _golden_layers() -> list[GoldenLayer]:
    layers = []
    for file in sorted(GOLDEN.glob("*/datasource-properties.json")):
        if file.parent.name != "z3_upsample":
            names = [layer["name"] for layer in json.loads(file.read_text())["dataLayers"]]
            layers += [golden for name in names if (golden := GoldenLayer(file.parent.name, name)).mode in MODES]
    return layers


LAYERS = _golden_layers()


def test_all_golden_steps_are_here() -> None:
    assert sum(layer.steps for layer in LAYERS) == STEPS_IN_ALL


@pytest.mark.parametrize("golden, cores", [(layer, 1 + index % 2) for index, layer in enumerate(LAYERS)], ids=str)
@pytest.mark.filterwarnings("ignore:chunk shape")
def test_steps_make_the_golden_voxels(golden: GoldenLayer, cores: int, tmp_path: Path) -> None:
    dataset = _with_finest_mag(golden, tmp_path / "dataset")
    for ladder in _ladders(golden):
        run_here(_plan(golden, dataset, ladder, Sizing.local(cores)))
    layer = Dataset.open(dataset.path).get_layer(golden.name)
    assert list(layer.mags) == golden.mags
    for mag in golden.mags:
        np.testing.assert_array_equal(layer.get_mag(mag).read(), golden.voxels(mag), err_msg=f"{golden}, mag {mag}")


def _with_finest_mag(golden: GoldenLayer, path: Path) -> Dataset:
    source = Dataset.open(GOLDEN / golden.dataset, read_only=True)
    original = source.get_layer(golden.name)
    dataset = Dataset(path, voxel_size_with_unit=source.voxel_size_with_unit)
    layer = dataset.add_layer(
        golden.name,
        original.category,
        dtype=original.dtype,
        num_channels=original.num_channels,
        data_format=original.data_format,
        bounding_box=original.bounding_box,
    )
    info = original.get_finest_mag().info
    mag = layer.add_mag(golden.mags[0], chunk_shape=info.chunk_shape, shard_shape=info.shard_shape, compress=info.compression_mode)
    mag.write(golden.voxels(mag.mag))
    return dataset


def _ladders(golden: GoldenLayer) -> list[Sequence[Mag]]:
    """Return the mags of each run; factors that no sampling mode gives were single steps."""
    if golden.name == "seg16_step4":
        return [[coarse] for coarse in golden.mags[1:]]
    return [golden.mags[1:]]


def _plan(golden: GoldenLayer, dataset: Dataset, ladder: Sequence[Mag], sizing: Sizing) -> Plan:
    """Plan a ladder, or one mag from the coarsest existing one, whatever the factors."""
    layer = dataset.get_layer(golden.name)
    info = layer.get_finest_mag().info
    request = DownsampleRequest(
        dataset.path,
        coarsest=golden.mags[-1] if golden.name != "constant_z" else Mag(8),
        sampling=SamplingMode(golden.name) if golden.name in ("isotropic", "constant_z") else SamplingMode.ANISOTROPIC,
        interpolation=InterpolationMode(golden.mode) if golden.name in MODES else None,
        storing=Storing(info.chunk_shape, info.shard_shape, info.compression_mode),
    )
    if len(ladder) < len(golden.mags) - 1:
        request = replace(request, layer=golden.name, from_mag=max(layer.mags), targets=tuple(ladder))
    plan = make_downsample_plan(request, sizing)
    assert plan.layer(golden.name).publish == tuple(ladder), "the ladder is not the golden one"
    return plan


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*/datasource-properties.json")), ids=lambda path: path.parent.name)
def test_golden_datasets_are_read(path: Path) -> None:
    """All golden datasets are read, whichever mode made their coarser mags."""
    dataset = Dataset.open(path.parent, read_only=True)
    with np.load(GOLDEN / f"{path.parent.name}.npz") as file:
        for key in file.files:
            name, mag = key.split("/")
            np.testing.assert_array_equal(dataset.get_layer(name).get_mag(mag).read(), file[key], err_msg=key)
