"""Group files: their content, the parts that stay, and that zarr-python opens them as multiscale images."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import zarr

from wkpipe.geometry import Mag, NDBoundingBox
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.ome import group_files, refresh_group_files
from wkpipe.metadata.properties import DatasetProperties, read_properties
from wkpipe.metadata.units import VoxelSize
from wkpipe.storage.local import Local, object_at
from wkpipe.storage.scratch import Scratch


def properties_with(*formats: str, axes: str = "xyz", mags: tuple[str, ...] = ("1", "2-2-1")) -> DatasetProperties:
    """Return a dataset with one layer ``color_<format>`` for each format."""
    properties = DatasetProperties("d", VoxelSize((11.24, 11.24, 28)))
    box = NDBoundingBox((0,) * len(axes), (1,) * len(axes), tuple(axes))
    for data_format in formats:
        layer = LayerProperties.for_box(f"color_{data_format}", "color", data_format, np.dtype("u1"), box)
        for mag in mags:
            layer = layer.with_mag(MagProperties(Mag(mag), f"./{layer.name}/{mag}"))
        properties = properties.with_new_layer(layer)
    return properties


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    return Scratch(tmp_path / ".wkpipe" / "tmp")


def on_disk(root: Path, properties: DatasetProperties) -> Path:
    for layer in properties.layers:
        (root / layer.name).mkdir(exist_ok=True)
    return root


def load(path: Path) -> Any:
    return json.loads(path.read_bytes())


def test_the_files_are_those_of_the_reference_but_for_its_version_of_zgroup(golden: Path) -> None:
    compared = 0
    for file in sorted(golden.glob("*/datasource-properties.json")):
        for name, content in group_files(read_properties(object_at(file))).items():
            golden = (file.parent / name).read_bytes()
            assert content == golden.replace(b'"zarr_format": "2"', b'"zarr_format": 2'), file.parent / name
            compared += 1
    assert compared >= 30


def test_axes_and_scales() -> None:
    files = group_files(properties_with("zarr3", axes="tqxyz", mags=("2-2-1",)))
    assert set(files) == {"zarr.json", "color_zarr3/zarr.json"}
    assert json.loads(files["zarr.json"]) == {"zarr_format": 3, "node_type": "group"}
    ome = json.loads(files["color_zarr3/zarr.json"])["attributes"]["ome"]
    assert ome["version"] == "0.5"
    space = {"type": "space", "unit": "nanometer"}
    assert ome["multiscales"][0]["axes"] == [
        {"name": "t", "type": "time"},
        {"name": "q"},
        *({"name": axis} | space for axis in "xyz"),
    ]
    scale = [{"type": "scale", "scale": [1.0, 1.0, 22.48, 22.48, 28.0]}]
    assert ome["multiscales"][0]["datasets"] == [{"path": "2-2-1", "coordinateTransformations": scale}]


def test_wkw_has_none_and_a_layer_without_mags_is_a_plain_group() -> None:
    assert group_files(properties_with("wkw", "n5")) == {}
    files = group_files(properties_with("zarr3", "zarr", mags=()))
    assert set(files) == {"zarr.json", ".zgroup", "color_zarr3/zarr.json", "color_zarr/.zgroup"}
    assert "attributes" not in json.loads(files["color_zarr3/zarr.json"])


def test_zarr_python_opens_them(tmp_path: Path, scratch: Scratch) -> None:
    properties = properties_with("zarr3", "zarr")
    refresh_group_files(Local(on_disk(tmp_path, properties), scratch), properties)
    formats: list[tuple[str, Literal[2, 3]]] = [("zarr3", 3), ("zarr", 2)]
    for data_format, version in formats:
        for mag in ("1", "2-2-1"):
            path = tmp_path / f"color_{data_format}" / mag
            zarr.create_array(path, shape=(1, 4, 4, 4), chunks=(1, 4, 4, 4), dtype="u1", zarr_format=version)
        group = zarr.open_group(tmp_path, mode="r", zarr_format=version)[f"color_{data_format}"]
        assert isinstance(group, zarr.Group)
        attributes: Any = group.attrs["ome"] if version == 3 else group.attrs
        (multiscale,) = attributes["multiscales"]
        assert [axis["name"] for axis in multiscale["axes"]] == ["c", "x", "y", "z"]
        for entry in multiscale["datasets"]:
            array = group[entry["path"]]
            assert isinstance(array, zarr.Array)
            assert array.ndim == len(entry["coordinateTransformations"][0]["scale"]) == 4
        assert zarr.open_group(tmp_path / f"color_{data_format}", mode="r").metadata.zarr_format == version


def test_only_what_differs_is_written(tmp_path: Path, scratch: Scratch) -> None:
    properties = properties_with("zarr3", "zarr")
    root = on_disk(tmp_path, properties)
    assert len(refresh_group_files(Local(root, scratch), properties)) == 5
    assert refresh_group_files(Local(root, scratch), properties) == []
    (root / ".zgroup").write_text('{"zarr_format": "2"}')
    (root / "color_zarr" / ".zattrs").write_text("{ broken")
    assert refresh_group_files(Local(root, scratch), properties) == [".zgroup", "color_zarr/.zattrs"]
    assert load(root / ".zgroup") == {"zarr_format": 2}
    changed = replace(properties, voxel_size=VoxelSize((1, 1, 1)))
    assert len(refresh_group_files(Local(root, scratch), changed)) == 2


def test_what_others_put_into_a_file_stays(tmp_path: Path, scratch: Scratch) -> None:
    properties = properties_with("zarr3", "zarr")
    root = on_disk(tmp_path, properties)
    refresh_group_files(Local(root, scratch), properties)
    group3, group2 = root / "color_zarr3" / "zarr.json", root / "color_zarr" / ".zattrs"
    content3, content2 = load(group3), load(group2)
    content3["attributes"]["mine"] = 1
    content3["attributes"]["ome"]["omero"] = {"channels": []}
    content3["attributes"]["ome"]["multiscales"][0]["name"] = "image"
    content3["attributes"]["ome"]["multiscales"].append({"datasets": [{"path": "other"}]})
    content2["omero"] = {"version": "0.4"}
    group3.write_text(json.dumps(content3 | {"consolidated_metadata": {"metadata": {}}}))
    group2.write_text(json.dumps(content2))
    assert refresh_group_files(Local(root, scratch), properties) == []
    more = properties_with("zarr3", "zarr", mags=("1", "2-2-1", "4"))
    refresh_group_files(Local(root, scratch), more)
    datasets = load(group3)["attributes"]["ome"]["multiscales"][0].pop("datasets")
    assert [entry["path"] for entry in datasets] == ["1", "2-2-1", "4"]
    content3["attributes"]["ome"]["multiscales"][0]["datasets"] = datasets
    assert load(group3) == content3, "and the stale copy of the metadata is gone"
    assert load(group2)["omero"] == {"version": "0.4"}


def test_arrays_and_foreign_or_missing_directories_are_left_alone(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "dataset", tmp_path / "elsewhere"
    properties = properties_with("zarr3", "zarr")
    (root / "color_zarr").mkdir(parents=True)
    elsewhere.mkdir()
    (root / "color_zarr3").symlink_to(elsewhere)
    (root / "color_zarr" / ".zarray").write_text("{}")
    written = refresh_group_files(Local(root, Scratch(tmp_path / "tmp")), properties)
    assert written == ["zarr.json", ".zgroup"]
    assert list(elsewhere.iterdir()) == []
    (root / "color_zarr3").unlink()
    assert refresh_group_files(Local(root, Scratch(tmp_path / "tmp")), properties) == []
    (root / "color_zarr3").mkdir()
    (root / "color_zarr3" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "array"}')
    assert refresh_group_files(Local(root, Scratch(tmp_path / "tmp")), properties) == []


def test_mags_elsewhere_are_listed_only_if_a_link_leads_there(tmp_path: Path, scratch: Scratch) -> None:
    properties = properties_with("zarr3", mags=())
    layer = properties.layers[0]
    for mag, path in (("1", None), ("2", "../other/color/2"), ("4", "../other/color/4"), ("8", f"{layer.name}/eight")):
        layer = layer.with_mag(MagProperties(Mag(mag), path))
    root = on_disk(tmp_path, properties)
    (root / layer.name / "1-1-1").mkdir()
    (root / layer.name / "2").mkdir()
    refresh_group_files(Local(root, scratch), properties.with_layer(layer))
    (multiscale,) = load(root / layer.name / "zarr.json")["attributes"]["ome"]["multiscales"]
    assert [entry["path"] for entry in multiscale["datasets"]] == ["1-1-1", "2", "eight"]
