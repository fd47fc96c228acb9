"""Every golden step of median, mode, max and min, made again by the whole of wkpipe: plan, tasks, engine, publish.

The golden datasets were made by the reference package. For each of their layers a fresh dataset is written with the
golden voxels of the finest mag, in the golden layout; runs make the coarser mags of it, whose voxels must be the golden
ones. A step is one (mag → coarser mag) of one time point and channel, as `reference_check.py` beside the data counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wkpipe import Dataset, Mag
from wkpipe.metadata.properties import read_properties
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import Config
from wkpipe.plan.grouping import group_tasks
from wkpipe.plan.plan import LayerPlan, Plan, Preparation
from wkpipe.plan.pyramid import downsampled
from wkpipe.plan.resources import Sizing
from wkpipe.plan.shapes import Shapes
from wkpipe.plan.survey import survey_layer
from wkpipe.sampling import InterpolationMode
from wkpipe.steps.run import run_here
from wkpipe.storage.lease import read_epoch
from wkpipe.stored.dataset import StoredDataset

GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"
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
        return read_properties(GOLDEN / self.dataset / "datasource-properties.json").layer(self.name)

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


def test_all_golden_steps_are_here(shared: Path) -> None:
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
    """Return what is made by one run each; factors that no sampling mode yields were single steps."""
    if golden.name == "seg16_step4":
        return [[coarse] for coarse in golden.mags[1:]]
    return [golden.mags[1:]]


def _plan(golden: GoldenLayer, dataset: Dataset, ladder: Sequence[Mag], sizing: Sizing) -> Plan:
    info = dataset.get_layer(golden.name).get_finest_mag().info
    config = Config(
        target=dataset.path,
        coarsest_mag=str(golden.mags[-1]) if golden.name != "constant_z" else "8",
        sampling_mode=golden.name if golden.name in ("isotropic", "constant_z") else "anisotropic",
        interpolation_mode=golden.mode if golden.name in MODES else "default",
        chunk_shape=info.chunk_shape.to_tuple(),
        shard_shape=info.shard_shape.to_tuple(),
        compress=info.compression_mode,
    )
    if len(ladder) == len(golden.mags) - 1:
        plan = make_plan(config, sizing)
        assert plan.layer(golden.name).publish == tuple(ladder), "the ladder is not the golden one"
        return plan
    return _single_step(golden, dataset, ladder[0], Shapes(info.chunk_shape, info.shard_shape), config, sizing)


def _single_step(golden: GoldenLayer, dataset: Dataset, mag: Mag, shapes: Shapes, config: Config, sizing: Sizing) -> Plan:
    """Plan one mag from the coarsest one that is there, whatever the factors."""
    stored = StoredDataset.open(dataset.path)
    layer = stored.layer(golden.name)
    from_mag = max(entry.mag for entry in layer.mags)
    mag_plan = downsampled(layer, mag, from_mag, InterpolationMode.parse("default", layer.category), shapes, _compression(stored, layer))
    survey = survey_layer(config, stored.locations, [mag_plan], layer, stored)
    return Plan(
        dataset=stored.locations.dataset,
        state=stored.locations.state,
        layers=(LayerPlan(layer.name, (mag_plan,), (mag,), tuple(survey.found)),),
        tasks=group_tasks({layer.name: survey.pending}, [layer.name], sizing),
        preparation=Preparation(survey.adopted),
        epoch=read_epoch(stored.locations.locks),
    )


def _compression(stored: StoredDataset, layer: Any) -> Any:
    return stored.open_mag(layer, layer.mags[0]).spec.compression


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*/datasource-properties.json")), ids=lambda path: path.parent.name)
def test_golden_datasets_are_read(path: Path) -> None:
    """All of them, whatever made their coarser mags."""
    dataset = Dataset.open(path.parent, read_only=True)
    with np.load(GOLDEN / f"{path.parent.name}.npz") as file:
        for key in file.files:
            name, mag = key.split("/")
            np.testing.assert_array_equal(dataset.get_layer(name).get_mag(mag).read(), file[key], err_msg=key)
