"""Names, module paths and aliases of all three vocabularies, and the names beyond the border."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wkpipe
from tests.api_coverage import FACTS
from wkpipe import BoundingBox, Dataset, Layer, Mag, Vec3Float, Vec3Int
from wkpipe.dataset.border import BEYOND, NotOffered
from wkpipe.errors import MagNotFound, UsageError

BOX = BoundingBox((0, 0, 0), (64, 64, 16))


@pytest.fixture
def layer(tmp_path: Path) -> Layer:
    return Dataset(tmp_path / "d", (4, 4, 40)).add_layer("em", wkpipe.COLOR_CATEGORY, bounding_box=BOX)


# -- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "module, names",
    [
        ("wkpipe.dataset", "Dataset Layer SegmentationLayer MagView View MeshAttachment DEFAULT_DATA_FORMAT RemoteFolder"),
        ("wkpipe.dataset.sampling_modes", "SamplingModes"),
        ("wkpipe.dataset.dataset", "Dataset"),
        ("wkpipe.dataset.layer", "Layer SegmentationLayer LayerCategories SamplingModes"),
        ("wkpipe.dataset.mag_view", "MagView"),
        ("wkpipe.dataset.defaults", "DEFAULT_CHUNK_SHAPE DEFAULT_SHARD_SHAPE DEFAULT_DATA_FORMAT DEFAULT_WKW_FILE_LEN"),
        ("wkpipe.dataset.downsampling_utils", "SamplingModes"),
        (
            "wkpipe.dataset.properties",
            "LayerViewConfiguration LayerProperties MagViewProperties VoxelSize LengthUnit",
        ),
        ("wkpipe.dataset_properties", "VoxelSize LengthUnit DataFormat AttachmentDataFormat COLOR_CATEGORY get_dataset_converter"),
        ("wkpipe.geometry", "C_AXIS XYZ_AXES BoundingBox NDBoundingBox NormalizedBoundingBox Mag Vec3Int Vec3Float VecInt"),
        ("wkpipe.geometry.vec3_int", "Vec3Int"),
        ("wkpipe.geometry.constants", "C_AXIS XYZ_AXES"),
    ],
)
def test_module_paths(module: str, names: str) -> None:
    found = importlib.import_module(module)
    for name in names.split():
        assert getattr(found, name) is getattr(wkpipe, name, getattr(found, name))


def test_aliases() -> None:
    assert wkpipe.DataFormat.Zarr3 is wkpipe.DataFormat.ZARR3
    assert wkpipe.DataFormat.NeuroglancerPrecomputed is wkpipe.DataFormat.PRECOMPUTED
    assert wkpipe.SamplingModes.AUTO is wkpipe.SamplingMode.ANISOTROPIC
    assert wkpipe.LayerCategories.COLOR_TYPE == wkpipe.COLOR_CATEGORY == "color"
    assert wkpipe.LayerCategories.SEGMENTATION_TYPE == wkpipe.SEGMENTATION_CATEGORY == "segmentation"
    assert (Vec3Int.full(32), Vec3Int.full(1024)) == (wkpipe.DEFAULT_CHUNK_SHAPE, wkpipe.DEFAULT_SHARD_SHAPE)
    assert Mag("2-2-1").to_layer_name() == "2-2-1"
    assert Mag(4).to_long_layer_name() == "4-4-4"
    assert wkpipe.VoxelSize((1, 2, 3), wkpipe.LengthUnit.MICROMETER).to_nanometer() == Vec3Float(1000, 2000, 3000)


def test_mags_are_found_by_anything_that_names_them(layer: Layer) -> None:
    layer.add_mag("2-2-1")
    assert "2-2-1" in layer.mags
    assert "2-2-1" in layer.mags.keys()  # noqa: SIM118 (as the documents write it)
    assert (2, 2, 1) in layer.mags
    assert 1 not in layer.mags
    assert "no mag" not in layer.mags
    assert layer.mags["2-2-1"] is layer.mags[Mag((2, 2, 1))] is layer.mags.get((2, 2, 1)) is layer.get_mag("2-2-1")
    assert layer.mags.get(1) is None
    with pytest.raises(MagNotFound, match=r"no mag 1, found 2-2-1"):
        layer.mags[1]


def test_parameters_by_position_and_by_name(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path / "d", (4, 4, 40), "brain", True)
    assert (dataset.name, dataset.voxel_size) == ("brain", Vec3Float(4, 4, 40))
    assert Dataset(dataset_path=tmp_path / "d", voxel_size=np.array([4, 4, 40]), exist_ok=True) == dataset
    layer = dataset.add_layer(layer_name="em", category="color", dtype="float")
    assert layer.dtype == dataset.add_layer("two", "color", dtype=float).dtype == np.float32
    assert dataset.get_layer(layer_name="em") is layer
    dataset.delete_layer(layer_name="em")


def test_datasets_are_equal_if_they_are_the_same_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = Dataset(tmp_path / "a", (4, 4, 40))
    (tmp_path / "link").symlink_to("a")
    monkeypatch.chdir(tmp_path)
    same = [Dataset.open("a"), Dataset.open(tmp_path / "link"), Dataset.open("a", read_only=True)]
    assert all(each == dataset for each in same)
    assert len({dataset, *same}) == 1
    assert dataset != Dataset(tmp_path / "b", (4, 4, 40))
    assert dataset != tmp_path / "a"


# -- the border -----------------------------------------------------------------------------------------------------


def test_every_name_of_the_reference_can_be_imported() -> None:
    own = {"check_version_in_background", "current_version"}
    assert not {name for name in FACTS["webknossos 4.3.3"]["names"] if not hasattr(wkpipe, name)} - own


@pytest.mark.parametrize("name", sorted(BEYOND))
def test_a_name_beyond_the_border_is_refused_at_its_use(name: str) -> None:
    beyond: Any = getattr(wkpipe, name)
    assert not isinstance(Dataset, beyond)
    assert beyond | None
    for use in (lambda: beyond(), lambda: beyond.load("file"), lambda: beyond(url="a", token="b")):
        with pytest.raises(NotOffered, match=rf"^wkpipe has no {name}; .*(webknossos|HTTP)") as caught:
            use()
        assert "\n" not in str(caught.value)
    assert not hasattr(beyond, "something")


def test_a_script_that_uses_the_border_ends_with_one_line() -> None:
    code = "import wkpipe as wk\ndef show(a: wk.Annotation): ...\nprint('before')\nwk.Annotation.load('a.zip')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (1, "before\n")
    assert result.stderr.splitlines()[-1] == (
        "wkpipe.dataset.border.NotOffered: wkpipe has no Annotation; use webknossos beside it, both can open the same dataset"
    )


@pytest.mark.parametrize("values", [{"layers_to_link": ["a"]}, {"transfer_mode": "copy"}])
def test_an_upload_refuses_what_it_cannot_do(layer: Layer, values: dict[str, Any]) -> None:
    with pytest.raises(NotOffered, match=f"Dataset.upload has no {next(iter(values))}"):
        layer.dataset.upload(**values)


def test_a_server_needs_a_token(layer: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WK_TOKEN", "WK_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    for call in (layer.dataset.upload, lambda: Dataset.open_remote("a"), lambda: Dataset.download("a")):
        with pytest.raises(UsageError, match="a token is needed"):
            call()  # type: ignore[operator]
