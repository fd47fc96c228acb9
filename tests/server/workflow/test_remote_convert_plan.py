"""The place of the dataset that `wkpipe remote-convert` makes, and refusals before it makes anything."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.workflow.workflow_helpers import VOXEL_SIZE, WKPIPE, run, write_stack
from wkpipe.cli.command import Settings
from wkpipe.cli.remote_convert import check_shared, directory_name, name_of
from wkpipe.errors import InputRefused

VALUES = {"source": "images", "voxel_size": VOXEL_SIZE, "name": "em_stack", "webknossos_url": "https://webknossos.org"}


def name_for(values: dict[str, object]) -> str:
    return directory_name(Settings("remote-convert", values))


def test_the_name_is_readable_and_the_same_for_the_same_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = name_for(VALUES)
    assert re.fullmatch(r"em_stack-[0-9a-f]{10}\.uploading", first)
    assert name_for(VALUES | {"voxel_size": "11.0,11.0,25.0", "source": str(tmp_path / "images")}) == first
    assert name_for(VALUES | {"voxel_size": (11, 11, 25), "data_format": "zarr3", "downsample": True}) == first
    for key, value in {
        "ignore_disk_space": True,
        "batch_size": 32,
        "proxy": "http://p:1",
        "upload_again": True,
        "allow_http": True,
    }.items():
        assert name_for(VALUES | {key: value}) == first, key


@pytest.mark.parametrize(
    "key, value",
    [
        ("source", "others"),
        ("voxel_size", "11,11,26"),
        ("unit", "micrometer"),
        ("name", "em_stack2"),
        ("layer_name", "em"),
        ("category", "color"),
        ("mag", "2"),
        ("topleft", "0,0,64"),
        ("bbox", "0,0,0,9,9,1"),
        ("flip_z", True),
        ("padding", "fill"),
        ("rgb", "gray"),
        ("data_format", "wkw"),
        ("chunk_shape", "16,16,16"),
        ("shard_shape", "64,64,64"),
        ("compress", False),
        ("compression_level", 9),
        ("downsample", False),
        ("coarsest_mag", "4"),
        ("interpolation_mode", "nearest"),
        ("sampling_mode", "isotropic"),
        ("webknossos_url", "https://other.example.org"),
        ("folder", "A/B"),
        ("datastore", "second"),
    ],
)
def test_another_source_option_or_destination_makes_another_name(key: str, value: object) -> None:
    assert name_for(VALUES | {key: value}) != name_for(VALUES)


def test_the_name_of_the_dataset_is_that_of_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_stack").mkdir()
    (tmp_path / "volume.tif").touch()
    assert name_of(tmp_path / "my_stack") == "my_stack"
    assert name_of(tmp_path / "volume.tif") == "volume"
    monkeypatch.chdir(tmp_path / "my_stack")
    assert name_of(Path()) == "my_stack"


def test_directories_of_one_host_are_refused_for_clusters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("/tmp", "/tmp/somewhere/else", "/var/tmp/x", "/dev/shm"):
        with pytest.raises(InputRefused, match="--work-dir"):
            check_shared(Path(place))
    monkeypatch.setenv("TMPDIR", str(Path.home() / "scratch-of-this-node"))
    with pytest.raises(InputRefused, match="which every host has for itself"):
        check_shared(Path.home() / "scratch-of-this-node" / "a")
    link = tmp_path / "link"
    link.symlink_to("/dev/shm")
    with pytest.raises(InputRefused, match="memory"):
        check_shared(link / "not-there-yet")


def test_a_directory_that_may_be_shared_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    home = Path.home().resolve()
    if home.is_relative_to("/tmp"):
        pytest.skip("the home is in the directory for temporary files")
    check_shared(home)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stack(tmp_path_factory.mktemp("images") / "stack", (8, 40, 40))


def command(stack: Path, work: Path, *more: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run("remote-convert", stack, "--voxel-size", VOXEL_SIZE, "--work-dir", work, *more, **{"WK_TOKEN": "secret-token"} | environment)


def test_a_dry_run_shows_the_upload_and_writes_nothing(stack: Path, tmp_path: Path) -> None:
    result = command(stack, tmp_path, "--dry-run", "--folder", "A/B", WK_URL="https://wk.example.org")
    assert result.returncode == 0, result.stderr
    assert "upload: to https://wk.example.org as stack, folder A/B" in result.stdout
    assert not any(tmp_path.iterdir())
    assert "upload: to https://webknossos.org as other" in command(stack, tmp_path, "-n", "--dataset-name", "other").stdout


@pytest.mark.parametrize(
    "options, exit_code, words",
    [
        (["--dataset-name", "my stack"], 3, ["my stack", "--dataset-name"]),
        (["--dataset-name", "a/b"], 3, ["a/b"]),
        (["--dataset-name", ".hidden"], 3, [".hidden"]),
        (["--dataset-name", "ab"], 3, ["at least 3"]),
        (["--webknossos-url", "webknossos.org"], 2, ["https://webknossos.org"]),
        (["--webknossos-url", "https://user:pass@wk.example.org"], 2, ["user name"]),
        (["--webknossos-url", "http://wk.example.org"], 2, ["not encrypted"]),
        (["--shard-shape", "48"], 2, ["--shard-shape", "power of two"]),
        (["--token-file", "not-there"], 5, ["not-there"]),
    ],
)
def test_what_no_server_would_take_is_refused_before_anything_is_written(
    stack: Path, tmp_path: Path, options: list[str], exit_code: int, words: list[str]
) -> None:
    result = command(stack, tmp_path, *options)
    assert result.returncode == exit_code, result.stderr
    assert all(word in result.stderr for word in words), result.stderr
    assert "pass@" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not any(tmp_path.iterdir())


def test_without_a_token_nothing_is_begun(stack: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WK_")}
    line = ["remote-convert", str(stack), "--voxel-size", VOXEL_SIZE, "--work-dir", str(tmp_path)]
    result = subprocess.run([*WKPIPE, *line], capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 2
    assert "WK_TOKEN" in result.stderr
    assert not any(tmp_path.iterdir())
