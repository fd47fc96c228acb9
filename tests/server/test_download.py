"""Downloads: the copy equals the server's dataset; failures on the way are repaired, or reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.reference.workshop import assert_same_facts, our_facts
from tests.server.download_helpers import SHARD, Download, assert_same_voxels, boxes_asked
from tests.server.upload_helpers import FAST, SECRET
from tests.server.wk_server import WkServer, reading
from tests.workflow.workflow_helpers import data_files, identities
from wkpipe import Dataset
from wkpipe.cli.app import run_app
from wkpipe.errors import (
    AlreadyExists,
    InputRefused,
    IntegrityError,
    LayerNotFound,
    MagNotFound,
    MetadataError,
    NotWritable,
    ServerError,
    UsageError,
)
from wkpipe.geometry import BoundingBox, Mag
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.state.on_server import found_dataset
from wkpipe.runs.run import run_here
from wkpipe.server.download.remote import DatasetAddress, find_dataset
from wkpipe.server.http.token import Token
from wkpipe.steps.work import Server
from wkpipe.storage.ledger import Ledger
from wkpipe.verify.dataset import verify_dataset

pytestmark = pytest.mark.sampled(every=3)

Begin = Callable[..., Download]


@pytest.fixture
def begin(golden: Path, tmp_path: Path, server: WkServer) -> Begin:
    """Return a function that prepares the download of a dataset: of a path, or of one of the golden ones by name."""

    def give(dataset: str | Path, **values: Any) -> Download:
        path = dataset if isinstance(dataset, Path) else golden / dataset
        return Download(server, tmp_path / "here", server.add_dataset(path), values)

    return give


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """Return a dataset that is downloaded to some dozen shards of 64³: noise, and labels with empty shards."""
    dataset = Dataset(tmp_path / "noise", voxel_size=(11, 11, 25))
    rng = np.random.default_rng(3)
    box = BoundingBox((10, 70, 5), (150, 100, 60))
    em = dataset.add_layer("em", "color", dtype_per_channel="uint8", bounding_box=box)
    em.add_mag(1).write(rng.integers(1, 256, box.size.to_tuple(), dtype=np.uint8), absolute_offset=box.topleft)
    em.downsample(coarsest_mag=Mag(4))
    labels = dataset.add_layer("labels", "segmentation", dtype_per_channel="uint32", bounding_box=box, largest_segment_id=77)
    ids = np.zeros(box.size.to_tuple(), np.uint32)
    ids[100:120, 50:70, 20:40] = 77
    labels.add_mag(1).write(ids, absolute_offset=box.topleft)
    return dataset.path


# -- the copy ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["z3_seg", "z3_rgb", "z3_raw", "z3_dtypes", "z2", "wkw"])
def test_every_type_arrives_whole(begin: Begin, golden: Path, name: str) -> None:
    download = begin(name)
    download.run()
    download.server.check()
    assert_same_facts(download.facts, our_facts(golden / name), but=["data_format", "compressed"], same_shapes=False)
    report = verify_dataset(download.target)
    assert not report.problems, report.problems
    assert len(download.server.requests("datastores", "user")) == 0


@pytest.mark.parametrize("settings", [{"current_api": 15}, {"current_api": 14}, {"current_api": 13, "legacy_only": True}])
def test_older_servers_too(begin: Begin, golden: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    with WkServer(tmp_path / "older", **settings) as older:
        row = older.add_dataset(golden / "z3_rgb")
        download = Download(older, begin("z3_rgb").target, row)
        download.run()
        older.check()
        version = settings["current_api"]
        paths = {entry.path.split("/")[2] for entry in older.log if entry.route != "buildinfo"}
        assert paths == {f"v{version}"}
    assert_same_facts(download.facts, our_facts(golden / "z3_rgb"), but=["data_format"], same_shapes=False)


@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
def test_every_format_can_be_made(begin: Begin, noise: Path, data_format: str) -> None:
    shard = {} if data_format == "zarr" else {"shard_shape": SHARD}
    download = begin(noise, data_format=data_format, **shard)
    download.run()
    assert_same_facts(download.facts, our_facts(noise), but=["name", "data_format"], same_shapes=False)
    assert not verify_dataset(download.target).problems


def test_what_the_server_says_of_layers_stays(begin: Begin) -> None:
    download = begin("z3_seg", download_layers=["seg64", "seg16_step4"])
    assert download.dataset.properties is not None
    view = {"color": [255, 0, 0], "alpha": 40, "unknownKey": {"a": 1}}
    affine = [{"type": "affine", "matrix": [[1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}]
    for layer in download.dataset.properties["dataLayers"]:
        layer |= {"defaultViewConfiguration": view, "coordinateTransformations": affine, "mappings": ["agglomerate_view_70"]}
    plan = download.plan()
    assert any("these are not downloaded: mapping agglomerate_view_70" in note for note in plan.notes)
    download.run()
    properties = json.loads((download.target / "datasource-properties.json").read_text())
    assert properties["id"]["name"] == "z3_seg"
    first, second = properties["dataLayers"]
    assert (first["name"], second["name"]) == ("seg16_step4", "seg64")
    assert first["defaultViewConfiguration"] == {"color": [255, 0, 0], "alpha": 40}
    assert first["coordinateTransformations"] == affine
    assert "mappings" not in first
    assert "largestSegmentId" not in first, "the server did not name any"
    assert second["largestSegmentId"]["value"] == "9007199254753337"


def test_a_box_of_some_layers_and_mags(begin: Begin, golden: Path) -> None:
    """The part of the box that is inside the layer; coarse voxels that it cuts are whole."""
    download = begin("z3_seg", download_bbox="10,9,7,25,20,11", download_layers=["seg32"], download_mags=["4", "1"])
    download.run()
    found, source = download.facts, our_facts(golden / "z3_seg")
    assert list(found["layers"]) == ["seg32"]
    assert found["layers"]["seg32"]["box"] == {"x": [13, 35], "y": [9, 29], "z": [7, 18]}
    assert list(found["layers"]["seg32"]["mags"]) == ["1", "4"]
    for mag in ("1", "4"):
        assert_same_voxels(found, source, "seg32", mag)


def test_a_cube_without_anything_is_zero(begin: Begin, server: WkServer) -> None:
    """Such an answer has no bytes, and a header that gives the reason."""
    download = begin("z3_rgb", download_mags=["1"])
    assert download.dataset.properties is not None
    download.dataset.properties["dataLayers"][0]["boundingBox"] = {"topLeft": [320, 320, 320], "width": 32, "height": 32, "depth": 32}
    download.run()
    assert {(box["x"], box["width"]) for box in boxes_asked(server)} == {("320", "32")}
    assert not download.facts["layers"]["color"]["mags"]["1"]["voxels"].any()
    assert not (download.target / "color" / "1" / "c").exists()
    ledger = Ledger.load(download.target / ".wkpipe" / "ledger" / "color" / "1")
    assert all(record.proof.is_fill for record in ledger.records.values())


def test_wide_slices_are_asked_for_in_parts(begin: Begin, tmp_path: Path, server: WkServer) -> None:
    """A server answers every failure as if the box were empty, even a box that is too large."""
    dataset = Dataset(tmp_path / "flat", voxel_size=(1, 1, 1))
    layer = dataset.add_layer("flat", "color", dtype_per_channel="uint8", bounding_box=BoundingBox((3, 5, 7), (1300, 1100, 1)))
    voxels = np.random.default_rng(0).integers(0, 256, (1300, 1100, 1), dtype=np.uint8)
    layer.add_mag(1).write(voxels, absolute_offset=(3, 5, 7))
    download = begin(dataset.path)
    download.run()
    np.testing.assert_array_equal(download.facts["layers"]["flat"]["mags"]["1"]["voxels"][0], voxels)
    edges = {int(box[key]) for box in boxes_asked(server) for key in ("width", "height")}
    assert max(edges) == 512


def test_the_second_time_nothing_is_asked_for_twice(begin: Begin, noise: Path, server: WkServer) -> None:
    download = begin(noise, shard_shape=SHARD)
    download.run()
    before, asked = identities(download.target), len(boxes_asked(server))
    assert download.plan().is_empty
    assert len(boxes_asked(server)) == asked
    (download.target / "em" / "1" / "c" / "0" / "1" / "1" / "0").unlink()
    again = download.plan()
    assert [(part.layer, part.units) for task in again.tasks for part in task.ranges] == [("em", ((0, 1, 1, 0),))]
    download.run()
    assert {name for name, found in identities(download.target).items() if found != before[name]} == {"em/1/c/0/1/1/0"}
    assert_same_facts(download.facts, our_facts(noise), but=["name"], same_shapes=False)


def test_a_damaged_download_is_repaired(begin: Begin, noise: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`wkpipe verify` repairs what wkpipe has recorded; only the server can restore a shard."""
    download = begin(noise, shard_shape=SHARD)
    download.run()
    before = identities(download.target)
    state = download.target / ".wkpipe"
    recipe = state / "ledger" / "em" / "1" / "recipe.json"
    shard = download.target / "em" / "1" / "c" / "0" / "1" / "1" / "0"
    known = recipe.read_bytes(), (state / "conversion.json").read_bytes()
    recipe.unlink()
    (state / "conversion.json").write_text("{}")
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + b"x")
    assert run_app(["verify", str(download.target), "--repair"]) == IntegrityError.exit_code
    assert "delete its file and run the same `wkpipe download` command again" in capsys.readouterr().out
    assert (json.loads(recipe.read_bytes()), (state / "conversion.json").read_bytes()) == (json.loads(known[0]), known[1])
    shard.unlink()
    download.run()
    assert shard.read_bytes() == content
    assert {name for name, found in identities(download.target).items() if found != before[name]} == {"em/1/c/0/1/1/0"}
    assert run_app(["verify", str(download.target)]) == 0


# -- failures ---------------------------------------------------------------------------------------------------------

KINDS: list[dict[str, Any]] = [
    {"close": True},
    {"close": True, "performed": True},
    {"cut": True},
    {"stall": 1.0},
    {"status": 429, "headers": {"Retry-After": "0"}},
    {"status": 500},
    {"status": 502},
    {"status": 503},
    {"status": 504, "performed": True},
]


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 8))])
def test_random_faults_change_nothing(begin: Begin, noise: Path, tmp_path: Path, server: WkServer, seed: int) -> None:
    download = begin(noise, shard_shape=SHARD)
    download.run()
    faulty = Download(server, tmp_path / "faulty", download.dataset, download.values)
    server.random_faults(0.3, seed, KINDS, ("data", "zarr", "dataset", "buildinfo"))
    faulty.run(policy=replace(FAST, idle=0.5, without_progress=60.0))
    assert data_files(faulty.target) == data_files(download.target)
    assert len(server.faults.happened) >= 5
    server.check()


@pytest.mark.parametrize(
    "wrong",
    [
        {"truncate": True},
        {"body": "", "content_type": "application/octet-stream"},
        {"body": "<html>please log in</html>", "content_type": "text/html"},
    ],
    ids=["truncated", "empty", "a page"],
)
def test_an_answer_of_another_length_is_never_taken_for_voxels(begin: Begin, golden: Path, server: WkServer, wrong: dict[str, Any]) -> None:
    download = begin("z3_rgb", ignore_disk_space=True)
    server.fault("data", count=2, **wrong)
    download.run()
    assert_same_facts(download.facts, our_facts(golden / "z3_rgb"), but=["data_format"], same_shapes=False)
    server.fault("data", count=None, **wrong)
    other = Download(server, download.target.with_name("other"), download.dataset, {"ignore_disk_space": True})
    with pytest.raises(ServerError, match="expected 23166 bytes of voxels"):
        other.run()
    assert not (other.target / "datasource-properties.json").exists()
    server.faults.clear()
    other.run()
    assert data_files(other.target) == data_files(download.target)


def test_a_failure_that_looks_like_emptiness_is_none(begin: Begin, server: WkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server says that a box of many cubes is missing only if it has failed to read it."""
    monkeypatch.setattr(reading, "MOST_EDGE", 8)
    with pytest.raises(ServerError, match="answers with 0 bytes, expected"):
        begin("z3_rgb", ignore_disk_space=True).run()


def test_a_server_that_is_away_for_long_ends_it_resumably(begin: Begin, noise: Path, server: WkServer) -> None:
    download = begin(noise, shard_shape=SHARD, ignore_disk_space=True)
    plan = download.plan()
    server.fault("data", skip=4, count=None, close=True)
    with pytest.raises(ServerError, match=r"no progress for .*run the same command again later"):
        download.run()
    assert any("trying again" in text for text in download.said)
    before = identities(download.target)
    assert 1 <= len(before) < plan.units_to_do
    server.faults.clear()
    download.run()
    assert identities(download.target).items() >= before.items()
    assert_same_facts(download.facts, our_facts(noise), but=["name"], same_shapes=False)


def test_a_token_that_expires_meanwhile(begin: Begin, noise: Path, server: WkServer) -> None:
    download = begin(noise, shard_shape=SHARD, ignore_disk_space=True)
    plan = download.plan()
    old = Token(server.token)
    server.renew_token()
    with pytest.raises(ServerError, match=r"403.*check the token"):
        run_here(plan, server=Server(old, print, FAST))
    assert len(server.requests("data")) <= 4, "it is not tried again"
    download.run()
    assert_same_facts(download.facts, our_facts(noise), but=["name"], same_shapes=False)


def test_a_dataset_that_is_gone_meanwhile(begin: Begin, noise: Path, server: WkServer) -> None:
    download = begin(noise, shard_shape=SHARD)
    plan = download.plan()
    del server.state.datasets[download.dataset.id]
    with pytest.raises(ServerError, match="404"):
        run_here(plan, server=Server(Token(server.token), print, FAST))


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_layers_mags_and_boxes_that_are_not_there(begin: Begin) -> None:
    download = begin("z3_seg")
    with pytest.raises(LayerNotFound, match=r"nope is not a layer .*seg32, seg64, seg16_step4"):
        download.plan(download_layers=["nope"])
    with pytest.raises(MagNotFound, match="layer seg16_step4 has no mag 2, it has 1, 4, 16-16-8"):
        download.plan(download_mags=["2"])
    with pytest.raises(InputRefused, match=r"touches no layer .*seg32 \(13,7,5,27,22,13\) does not touch"):
        download.plan(download_bbox=[900, 900, 0, 5, 5, 5])
    for wrong in ("0,0,0,1,1", "0,0,0,0,1,1", "a"):
        with pytest.raises(UsageError, match="download_bbox"):
            load_config({"target": "t", "download_bbox": wrong}, "test")
    with pytest.raises(UsageError, match="exclude each other"):
        download.plan(source="images")
    with pytest.raises(UsageError, match="exclude each other"):
        download.plan(webknossos_url="https://webknossos.org")
    assert not download.target.exists()


def test_layers_of_which_a_server_gives_a_part_only(begin: Begin, server: WkServer) -> None:
    with pytest.raises(InputRefused, match=r"layer txyz: the axes t cannot be downloaded"):
        begin("z3_nd").plan()
    download = begin("z3_rgb")
    properties = reading.streamed_properties(download.dataset.data_source)
    properties["dataLayers"][0] |= {"elementClass": "uint32", "numChannels": 2}
    server.fault("zarr", body=json.dumps(properties))
    with pytest.raises(InputRefused, match="layer color: it has 2 channels of uint16, of which a server sends only the first"):
        download.plan()


def test_a_target_that_holds_something_else(begin: Begin, noise: Path) -> None:
    download = begin(noise)
    download.target.mkdir()
    (download.target / "notes.txt").write_text("mine")
    with pytest.raises(AlreadyExists, match="exists and is not empty"):
        download.plan()
    (download.target / "notes.txt").unlink()
    download.run(download_layers=["em"])
    with pytest.raises(AlreadyExists, match=r"other parameters \(download_layers: \['em'\], now default\)"):
        download.plan()
    download.run(overwrite_existing=True)
    assert list(download.facts["layers"]) == ["em", "labels"]


def test_a_disk_that_is_too_small(begin: Begin, noise: Path, server: WkServer) -> None:
    download = begin(noise)
    page = f"{server.url}/datasets/{download.dataset.id}"
    config = load_config({"target": str(download.target), "download_url": page}, "test")
    found = found_dataset(page, page, Token(server.token), config)
    with pytest.raises(NotWritable, match=r"at least .* are needed"):
        make_plan(config, Sizing.local(2), free=lambda _: 100_000, found=found)
    plan = make_plan(config, Sizing.local(2), found=found)
    assert plan.space is not None
    assert plan.space.expected == pytest.approx(900_000 * 1.25, rel=0.2), "noise does not compress; the labels take next to nothing"


HOSTILE: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda layer: layer.update(name=".."), "dataLayers.0..name"),
    (lambda layer: layer.update(name="a/../../b"), "dataLayers.0..name"),
    (lambda layer: layer.update(name=".wkpipe"), "dataLayers.0..name"),
    (lambda layer: layer.update(name="a\nb\x1b[31m"), "dataLayers.0..name"),
    (lambda layer: layer.update(name="datasource-properties.json"), "the name of a file of the dataset"),
    (lambda layer: layer.update(elementClass="uint7"), "elementClass"),
    (lambda layer: layer.update(elementClass="uint99999999"), "elementClass"),
    (lambda layer: layer.update(category="../x"), "category"),
    (lambda layer: layer["boundingBox"].update(width=2**60), "width"),
    (lambda layer: layer["boundingBox"].update(width=2**52, height=2**52, depth=2**52), "along every axis"),
    (lambda layer: layer["boundingBox"].update(width=2**40, height=2**40), "storage shards, at most"),
    (lambda layer: layer["boundingBox"].update(topLeft=[-5, 0, 0]), "topLeft"),
    (lambda layer: layer["mags"][0].update(mag=[3, 3, 3]), "mag"),
    (
        lambda layer: layer.update(mags=[layer["mags"][0] | {"mag": [1 << x, 1 << y, 1]} for x in range(9) for y in range(9)]),
        "81 mags, at most 64",
    ),
    (lambda layer: layer.update(additionalAxes=[{"name": "../t", "bounds": [0, 9], "index": 1}]), "more axes|additionalAxes|index"),
]


@pytest.mark.parametrize("case", range(len(HOSTILE)))
def test_what_no_honest_server_says_is_refused(begin: Begin, case: int) -> None:
    download = begin("z3_u8_modes")
    change, message = HOSTILE[case]
    properties = json.loads(json.dumps(reading.streamed_properties(download.dataset.data_source)))
    change(properties["dataLayers"][0])
    download.server.fault("zarr", body=json.dumps(properties))
    with pytest.raises(InputRefused, match=message) as refused:
        download.plan()
    assert str(refused.value).isprintable()
    assert not download.target.exists()


def test_a_dataset_without_a_sound_answer(begin: Begin, server: WkServer) -> None:
    download = begin("z3_rgb")
    for body in ("[]", "{}", "not JSON", '{"id": {"name": 1}}', "[" * 5000):
        server.fault("zarr", body=body)
        with pytest.raises(MetadataError):
            download.plan()
    for body in ("[]", '{"name": "a"}', '{"name": "a", "dataSource": {}, "dataStore": []}'):
        server.fault("dataset", body=body)
        with pytest.raises(ServerError):
            download.plan()
    for url in ("ftp://x", "http://user:secret@127.0.0.1", "http://elsewhere.example.org", 5, None):
        server.fault("dataset", body=json.dumps({"name": "a", "dataSource": {}, "dataStore": {"url": url}}))
        with pytest.raises(ServerError, match="datastore") as refused:
            download.plan()
        assert "secret" not in str(refused.value)
    server.fault("dataset", body=json.dumps({"name": "a", "dataSource": {"status": "not there\x1b"}, "dataStore": {}}))
    with pytest.raises(ServerError, match="cannot be read: not there"):
        download.plan()
    server.fault("dataset", status=403)
    with pytest.raises(ServerError, match=r"403.*check the token"):
        download.plan()
    server.check()


def test_addresses() -> None:
    dataset_id = "0123456789abcdef01234567"
    server = "https://webknossos.org"
    for text in (
        dataset_id,
        f"{server}/datasets/{dataset_id}",
        f"{server}/datasets/my-data-{dataset_id}/view#123,4",
        f"{server}/datasets/my%20data-{dataset_id}?x=1",
        f"{server}/datasets/org/{dataset_id}/view",
    ):
        assert DatasetAddress.parse(text, server, allow_http=False).dataset_id == dataset_id
    assert DatasetAddress.parse("my_data", server, allow_http=False) == DatasetAddress(server, None, "my_data")
    assert DatasetAddress.parse(f"{server}/datasets/org/my_data", "https://other.org", allow_http=False).server == server
    for text, message in (
        ("", "must not be empty"),
        ("https://webknossos.org", "not the address of a dataset"),
        ("https://webknossos.org/annotations/1234", "annotation"),
        (f"https://webknossos.org/datasets/a-{dataset_id}?token=verysecret", "contains a token"),
        (f"https://me:verysecret@webknossos.org/datasets/{dataset_id}", "user name"),
        (f"http://webknossos.org/datasets/{dataset_id}", "not encrypted"),
        (f"ftp://webknossos.org/datasets/{dataset_id}", "expected one like"),
        ("https://[webknossos/datasets/x", "not an address"),
    ):
        with pytest.raises(UsageError, match=message) as refused:
            DatasetAddress.parse(text, server, allow_http=False)
        assert "verysecret" not in str(refused.value)


def test_names(begin: Begin, server: WkServer) -> None:
    download = begin("z3_rgb")
    token = Token(server.token)

    def find(name: str) -> str:
        return find_dataset(DatasetAddress.parse(name, server.url, allow_http=False), token, allow_http=False).remote.dataset_id

    assert find("z3_rgb") == download.dataset.id
    with pytest.raises(ServerError, match="has no dataset z3_r "):
        find("z3_r")
    assert download.dataset.path is not None
    second = server.add_dataset(download.dataset.path)
    with pytest.raises(InputRefused, match=rf"2 datasets z3_rgb; give the address of one: .*{second.id}"):
        find("z3_rgb")
    with pytest.raises(ServerError, match="has no dataset 0123456789abcdef01234567"):
        find("0123456789abcdef01234567")


def test_no_other_text_of_a_server_has_the_token(begin: Begin, server: WkServer) -> None:
    download = begin("z3_rgb", ignore_disk_space=True)
    server.fault("data", count=None, body=f"<html>{server.token}</html>", content_type="text/html")
    with pytest.raises(ServerError, match="a text") as refused:
        download.run()
    assert server.token not in str(refused.value)
    assert not any(server.token in text for text in download.said)
    assert SECRET not in str(refused.value)
