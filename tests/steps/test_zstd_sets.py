"""Which parameters of zstd a mag gets, where they are recorded, and that mags of earlier releases keep theirs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.steps.helpers import Layer, check_pyramid, noise, plan_of, run, shards, tree, write_dataset
from wkpipe.formats.codecs import Zstd
from wkpipe.formats.zstd_parameters import level_parameters
from wkpipe.geometry import Mag
from wkpipe.native import libzstd
from wkpipe.plan.plan import Plan
from wkpipe.storage.ledger import Ledger
from wkpipe.stored.locations import Locations

SHAPES: dict[str, Any] = {"chunk_shape": (8, 8, 8), "shard_shape": (16, 16, 16)}


def written(root: Path, category: str = "color", name: str = "layer") -> Layer:
    layer = Layer(noise((1, 40, 34, 30), "uint32", 5), (5, 3, 9), shard=(16, 16, 16), category=category, name=name)
    write_dataset(root, layer)
    return layer


def sets(plan: Plan) -> dict[str, str | None]:
    return {str(mag.mag): mag.spec.compression.named for mag in plan.layers[0].mags}


def encoders(root: Path, mag: str) -> set[str]:
    ledger = Ledger.load(Locations.of(root).ledger("layer", Mag(mag)))
    return {record.encoder for record in ledger.records.values()}


def recipe(root: Path, mag: str) -> Any:
    return json.loads(Locations.of(root).recipe("layer", Mag(mag)).content(1 << 20) or b"")


@pytest.mark.parametrize("category, used", [("color", ["images-coarse"] * 2), ("segmentation", ["labels-fine", "labels-coarse"])])
def test_a_set_is_in_recipe_and_ledger(tmp_path: Path, category: str, used: list[str]) -> None:
    root = tmp_path / "d"
    layer = written(root, category)
    run(root, **SHAPES, sampling_mode="constant_z", coarsest_mag="4-4-1")
    for mag, name in zip(("2-2-1", "4-4-1"), used, strict=True):
        assert recipe(root, mag)["spec"]["compression"] == ["zstd", 5, name]
        assert encoders(root, mag) == {f"zstd-5 {name} libzstd {libzstd.release()}"}
        chunks = json.loads((root / "layer" / mag / "zarr.json").read_text())["codecs"][0]["configuration"]["codecs"]
        assert chunks[-1] == {"name": "zstd", "configuration": {"level": 5, "checksum": True}}
    check_pyramid(root, layer, "median" if category == "color" else "mode")


def test_a_given_level_is_zstds_own(tmp_path: Path) -> None:
    root = tmp_path / "d"
    written(root)
    run(root, **SHAPES, coarsest_mag="2", compression_level=5)
    assert encoders(root, "2") == {f"zstd-5 libzstd {libzstd.release()}"}
    assert sets(plan_of(root, **SHAPES, coarsest_mag="4")) == {"2": None, "4": None}
    assert sets(plan_of(root, **SHAPES, overwrite_existing=True, compression_level=3)) == {"2": None, "4": None}


@pytest.fixture
def earlier_release(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Until it is undone, wkpipe is an earlier release with another libzstd: it knows no sets and finds other matches."""
    monkeypatch.setattr(libzstd, "release", lambda: "1.5.6")
    monkeypatch.setattr(Zstd, "check_writable", lambda _: None)
    monkeypatch.setattr(Zstd, "parameters", lambda self, size: level_parameters(1, self.checksum, size))
    monkeypatch.setattr("wkpipe.formats.creation.check_release", lambda: None)
    return monkeypatch


def made_before(root: Path, earlier_release: pytest.MonkeyPatch) -> Layer:
    """Make a dataset with the earlier release, whose recipes have a plain level."""
    layer = written(root)
    run(root, **SHAPES, coarsest_mag="4", compression_level=5)
    assert encoders(root, "4") == {"zstd-5 libzstd 1.5.6"}
    earlier_release.undo()
    return layer


def test_mags_of_an_earlier_release_stay_and_get_mags_like_them(tmp_path: Path, earlier_release: pytest.MonkeyPatch) -> None:
    root = tmp_path / "d"
    made_before(root, earlier_release)
    before = [tree(root / "layer" / mag) for mag in ("2", "4")]
    assert plan_of(root, **SHAPES, coarsest_mag="4").is_empty
    plan = run(root, **SHAPES, coarsest_mag="8")
    assert sets(plan) == {"2": None, "4": None, "8": None}
    assert [tree(root / "layer" / mag) for mag in ("2", "4")] == before


def test_other_layers_of_an_old_dataset_get_its_level(tmp_path: Path, earlier_release: pytest.MonkeyPatch) -> None:
    root = tmp_path / "d"
    layers = [Layer(noise((1, 40, 34, 30), "uint8", 5), shard=(16, 16, 16), name=name) for name in ("layer", "other")]
    write_dataset(root, *layers)
    run(root, **SHAPES, coarsest_mag="2", layer_name="layer", compression_level=5)
    earlier_release.undo()
    assert sets(plan_of(root, **SHAPES, coarsest_mag="2", layer_name="other")) == {"2": None}


def test_a_unit_remade_by_another_release_leaves_coarser_mags_alone(tmp_path: Path, earlier_release: pytest.MonkeyPatch) -> None:
    """The bytes differ, the voxels do not."""
    root = tmp_path / "d"
    layer = made_before(root, earlier_release)
    lost = shards(root, mag="2")[0]
    content, coarser = lost.read_bytes(), tree(root / "layer" / "4")
    lost.unlink()
    run(root, **SHAPES, coarsest_mag="4")
    assert lost.read_bytes() != content
    assert len(encoders(root, "2")) == 2
    assert tree(root / "layer" / "4") == coarser
    assert plan_of(root, **SHAPES, coarsest_mag="4").is_empty
    check_pyramid(root, layer, "median")


def test_a_unit_remade_from_other_voxels_makes_coarser_mags_stale(tmp_path: Path, earlier_release: pytest.MonkeyPatch) -> None:
    root = tmp_path / "d"
    layer = made_before(root, earlier_release)
    layer = replace(layer, data=np.where(layer.data > 0, layer.data % 3 + 1, layer.data))
    other = tmp_path / "other"
    write_dataset(other, layer)
    for new in shards(other):
        (root / new.relative_to(other)).write_bytes(new.read_bytes())
    run(root, **SHAPES, coarsest_mag="4")
    check_pyramid(root, layer, "median")
