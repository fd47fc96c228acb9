"""Absurd sizes, numbers and names that a server gives for a dataset to download."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.server.download_helpers import Download
from tests.server.upload_helpers import SECRET
from tests.server.wk_server import WkServer, reading
from wkpipe.cli.app import run_app
from wkpipe.errors import InputRefused, MetadataError, UsageError
from wkpipe.geometry import Mag
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.from_images import FromImages
from wkpipe.plan.wishes import download as plan_of_download
from wkpipe.stored.axes import spatial


@pytest.fixture
def download(golden: Path, tmp_path: Path, server: WkServer) -> Download:
    return Download(server, tmp_path / "here", server.add_dataset(golden / "z3_rgb"))


def change_properties(download: Download, change: Callable[[dict[str, Any]], object]) -> None:
    """Have the server report changed properties of the dataset."""
    properties = json.loads(json.dumps(reading.streamed_properties(download.dataset.data_source)))
    change(properties)
    download.server.fault("zarr", body=json.dumps(properties), count=None)


def with_boxes(properties: dict[str, Any], layers: int, size: tuple[int, int, int], mags: int) -> None:
    (layer,) = properties["dataLayers"]
    box = {"topLeft": [0, 0, 0], "width": size[0], "height": size[1], "depth": size[2]}
    entries = [layer["mags"][0] | {"mag": [1 << i] * 3} for i in range(mags)]
    properties["dataLayers"] = [layer | {"name": f"layer_{i}", "boundingBox": box, "mags": entries} for i in range(layers)]


@pytest.mark.parametrize(
    "layers, size, mags, values",
    [
        (1, (128000, 128000, 64), 1, {"shard_shape": "64,64,64"}),
        (1, (163840, 163840, 163840), 1, {}),
        (50, (163840, 163840, 163840), 20, {}),
        (40, (32768, 32768, 32768), 1, {}),  # each layer alone is possible
        (1, (100 << 10, 100 << 10, 100 << 10), 10, {}),  # the finest mag alone is possible
        (1, (163840, 163840, 163840), 1, {"data_format": "wkw"}),
        (1, (163840, 163840, 163840), 1, {"data_format": "zarr"}),
    ],
)
def test_sizes_are_bounded_for_a_run_before_anything_is_listed(
    download: Download, monkeypatch: pytest.MonkeyPatch, layers: int, size: tuple[int, int, int], mags: int, values: dict[str, Any]
) -> None:
    change_properties(download, lambda properties: with_boxes(properties, layers, size, mags))

    def listed(_: MagPlan) -> list[Any]:
        raise AssertionError("the units are listed")

    monkeypatch.setattr(MagPlan, "units", listed)
    text = r"mags have \S+ storage shards, at most 1048576 are possible in a download .*choose layers, mags or a box"
    with pytest.raises(InputRefused, match=text) as refused:
        download.plan(**values)
    assert str(refused.value).isprintable()
    assert not download.server.requests("data")
    assert not download.target.exists()


def test_units_are_counted_as_they_are_listed(download: Download) -> None:
    for box in ([0, 0, 0, 200, 200, 200], [13, 7, 5, 20, 20, 9], [15, 15, 15, 2, 2, 2]):
        for data_format in ("zarr3", "zarr", "wkw"):
            plan = download.plan(download_bbox=box, data_format=data_format, chunk_shape="8,8,8", shard_shape="8,8,8")
            for layer in plan.layers:
                for mag in layer.mags:
                    units = mag.units()
                    assert mag.unit_count() == len(units) > 0
                    boxes = [mag.unit_box(unit) for unit in units]
                    assert sum((end - first).prod() for first, end in boxes) == mag.box.size.prod()
                    assert all((end - first).is_positive(strictly_positive=True) for first, end in boxes)
                    by_slices = replace(mag, origin=FromImages((), ())).units()
                    assert by_slices == sorted(units, key=lambda unit: spatial(mag.spec, unit)[::-1])


def test_a_part_of_what_is_too_large_can_be_had(download: Download) -> None:
    change_properties(download, lambda properties: with_boxes(properties, 50, (163840, 163840, 163840), 3))
    plan = download.plan(download_layers=["layer_7"], download_mags=["2"], download_bbox=[0, 0, 0, 64, 64, 64], ignore_disk_space=True)
    assert [(layer.name, [mag.mag for mag in layer.mags]) for layer in plan.layers] == [("layer_7", [Mag(2)])]


def test_planning_that_takes_long_is_announced(
    download: Download, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = f"{download.server.url}/datasets/{download.dataset.id}"
    for most, lines in ((plan_of_download.MANY_UNITS, []), (0, ["wkpipe: planning 3 storage shards, which takes a while"])):
        monkeypatch.setenv("WK_TOKEN", download.server.token)
        monkeypatch.setattr(plan_of_download, "MANY_UNITS", most)
        assert run_app(["download", page, str(download.target), "--dry-run"]) == 0
        assert [line for line in capsys.readouterr().err.splitlines() if "planning" in line] == lines


def test_layers_and_mags_are_bounded_too(download: Download, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planning a mag takes longer than planning a storage shard."""
    change_properties(download, lambda properties: with_boxes(properties, 4097, (8, 8, 8), 1))
    with pytest.raises(MetadataError, match="dataLayers: found 4097 layers, expected at most 4096"):
        download.plan()
    download.server.faults.clear()
    change_properties(download, lambda properties: with_boxes(properties, 400, (8, 8, 8), 11))
    with pytest.raises(InputRefused, match=r"found 4400 mags in 400 layers, expected at most 4096"):
        download.plan()
    few = download.plan(download_mags=["1"], download_layers=["layer_1", "layer_2"], ignore_disk_space=True)
    assert [layer.name for layer in few.layers] == ["layer_1", "layer_2"]


@pytest.mark.parametrize("value", [1e-320, 5e-324, 1e-200, 1e100, 1e308, 1.7e308])
@pytest.mark.parametrize("axis", range(3))
def test_voxel_sizes_that_nothing_has(download: Download, value: float, axis: int) -> None:
    for scale in (
        {"factor": [value if i == axis else 4.0 for i in range(3)], "unit": "nanometer"},
        [value if i == axis else 4.0 for i in range(3)],
    ):
        change_properties(download, lambda properties, scale=scale: properties.update(scale=scale))
        with pytest.raises(MetadataError, match="scale"):
            download.plan()
        download.server.faults.clear()
    assert not download.target.exists()


@pytest.mark.parametrize("factor, unit", [([1e-3, 1, 1], "nanometer"), ([1, 1, 1], "parsec"), ([1, 1, 1], "picometer")])
def test_voxel_sizes_of_all_units_are_taken(download: Download, factor: list[float], unit: str) -> None:
    change_properties(download, lambda properties: properties.update(scale={"factor": factor, "unit": unit}))
    assert download.plan().tasks


@pytest.mark.parametrize("value", [-1, -(2**63), {"customJsonEncoding": "bigint", "value": "-7"}])
def test_a_negative_segment_id(golden: Path, tmp_path: Path, server: WkServer, value: Any) -> None:
    download = Download(server, tmp_path / "here", server.add_dataset(golden / "z3_seg"))
    change_properties(download, lambda properties: properties["dataLayers"][0].update(largestSegmentId=value))
    with pytest.raises(MetadataError, match=r"layer seg.*largestSegmentId: found -\d+, expected no negative number"):
        download.plan()
    assert not download.target.exists()


@pytest.mark.parametrize("name", ["-rf", "--help", "--", "-" * 9, "..", ".wkpipe", "a/b", "~"])
def test_a_name_of_the_server_is_no_option_and_no_path(
    download: Download, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WK_TOKEN", download.server.token)
    download.dataset.name = name
    before = sorted(tmp_path.rglob("*"))
    assert run_app(["download", f"{download.server.url}/datasets/{download.dataset.id}"]) == UsageError.exit_code
    assert "is not valid for a directory; give TARGET" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_an_error_of_the_properties_does_not_show_the_token(golden: Path, tmp_path: Path) -> None:
    """Even if the token is a mere word, which is not an echo."""
    with WkServer(tmp_path / "server", "mysecret") as server:
        download = Download(server, tmp_path / "here", server.add_dataset(golden / "z3_rgb"))
        change_properties(download, lambda properties: properties["dataLayers"][0].update(elementClass="uint-mysecret"))
        with pytest.raises(MetadataError, match=r"elementClass: found .*uint-\*\*\*") as refused:
            download.plan()
    assert "mysecret" not in str(refused.value)
    assert SECRET not in str(refused.value)
