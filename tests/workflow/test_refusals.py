"""Bad input: one clear line, the exit code of the error's class, nothing written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.workflow.workflow_helpers import REPOSITORY, SHARDS, VOXEL_SIZE, identities, run, snakemake_command
from wkpipe import Dataset, Mag

pytestmark = pytest.mark.sampled(every=6)


def refused(result: subprocess.CompletedProcess[str], exit_code: int, *words: str) -> None:
    assert result.returncode == exit_code, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in lines[0]


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    directory = tmp_path / "slices"
    directory.mkdir()
    for z in range(4):
        tifffile.imwrite(directory / f"{z}.tif", np.full((40, 50), z + 1, dtype="u1"))
    return directory


def convert(source: Path, target: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return run("convert", source, target, "--voxel-size", VOXEL_SIZE, *more)


def test_a_source_that_is_missing_or_empty(tmp_path: Path) -> None:
    target = tmp_path / "target"
    refused(convert(tmp_path / "nowhere", target), 3, "nowhere")
    (tmp_path / "empty").mkdir()
    refused(convert(tmp_path / "empty", target), 3, "empty", "tif")
    assert not target.exists()


def test_a_truncated_slice_is_named_before_anything_is_written(slices: Path, tmp_path: Path) -> None:
    data = (slices / "2.tif").read_bytes()
    (slices / "2.tif").write_bytes(data[: len(data) // 2])
    refused(convert(slices, tmp_path / "target"), 3, "2.tif")
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize(
    "image, found", [(np.ones((40, 51), "u1"), "51"), (np.ones((40, 50), "u2"), "uint16"), (np.ones((40, 50, 3), "u1"), "")]
)
def test_slices_that_differ(slices: Path, tmp_path: Path, image: np.ndarray, found: str) -> None:
    tifffile.imwrite(slices / "3.tif", image)
    refused(convert(slices, tmp_path / "target"), 3, "3.tif", found)
    assert not (tmp_path / "target").exists()


def test_a_dtype_that_no_layer_can_have(tmp_path: Path) -> None:
    (tmp_path / "float64").mkdir()
    tifffile.imwrite(tmp_path / "float64" / "0.tif", np.ones((10, 10), "f8"))
    refused(convert(tmp_path / "float64", tmp_path / "target"), 3, "float64")


@pytest.mark.parametrize(
    "options, exit_code, word",
    [
        (["--interpolation-mode", "average"], 2, "'median', 'mode', 'nearest'"),
        (["--sampling-mode", "cubic"], 2, "'anisotropic', 'isotropic' or 'constant_z'"),
        (["--max-mag", "3"], 2, "power of two"),
        (["--data-format", "n5"], 2, "'wkw', 'zarr' or 'zarr3'"),
        (["--category", "colour"], 2, "'color' or 'segmentation'"),
        (["--unit", "furlong"], 2, "nanometer"),
        (["--chunk-shape", "33"], 2, "power of two"),
        (["--chunk-shape", "64,64,64", "--shard-shape", "32,32,32"], 3, "shard"),
        (["--batch-size", "5"], 2, "batch size 5"),
        (["--jobs", "0"], 2, "--jobs"),
        (["--distribution-strategy", "cluster"], 2, "slurm"),
        (["--distribution-strategy", "sequential", "--jobs", "2"], 2, "sequential"),
        (["--distribution-strategy", "kubernetes", "--job-resources", "partition=long"], 2, "partition is not known"),
        (["--distribution-strategy", "slurm", "--job-resources", "memory=4G"], 2, "memory is not known"),
        (["--job-resources", '{"mem": "10M"}'], 2, "--job-resources"),
        (["--layer-name", "../escape"], 2, "../escape"),
    ],
)
def test_wrong_options(slices: Path, tmp_path: Path, options: list[str], exit_code: int, word: str) -> None:
    target = tmp_path / "target"
    refused(convert(slices, target, *options), exit_code, word)
    assert not target.exists()


def test_a_voxel_size_is_needed(slices: Path, tmp_path: Path) -> None:
    refused(run("convert", slices, tmp_path / "target"), 2, "--voxel-size")
    refused(run("convert", slices, tmp_path / "target", "--voxel-size", "1,2"), 2, "--voxel-size", "11,11,25")


def test_a_target_that_exists(slices: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    (target / "notes.txt").write_text("mine")
    refused(convert(slices, target), 3, "exists", "--overwrite-existing")
    refused(convert(slices, target, "--overwrite-existing"), 3, "not a dataset")
    assert (target / "notes.txt").read_text() == "mine"
    (target / "notes.txt").unlink()
    assert convert(slices, target).returncode == 0
    refused(run("convert", slices, target, "--voxel-size", "1,1,1"), 3, "other parameters", "--overwrite-existing")
    assert run("convert", slices, target, "--voxel-size", "1,1,1", "--overwrite-existing").returncode == 0


def test_mags_that_cannot_be_made(slices: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    assert convert(slices, target, "--no-downsample", *SHARDS).returncode == 0
    before = identities(target)
    refused(run("downsample", target, "--coarsest-mag", "3"), 2, "--coarsest-mag", "power of two")
    refused(run("downsample", target, "--coarsest-mag", "1-1-64"), 3, "1-1-64")
    refused(run("downsample", target, "--layer-name", "nothing"), 3, "nothing", "slices")
    assert identities(target) == before


def test_datasets_that_are_none(tmp_path: Path) -> None:
    refused(run("downsample", tmp_path / "nowhere"), 3, "nowhere")
    refused(run("downsample", tmp_path), 3, "datasource-properties.json")
    (tmp_path / "datasource-properties.json").write_text('{"id": {"name": "a"}, "scale": [1, 1, 1], "dataLayers": [{"name": "a"}]}')
    refused(run("downsample", tmp_path), 3, "datasource-properties.json", "dataLayers[0].category", "expected")
    (tmp_path / "datasource-properties.json").write_text('{"id": ')
    refused(run("downsample", tmp_path), 3, "datasource-properties.json")
    assert [path.name for path in tmp_path.iterdir()] == ["datasource-properties.json"]


@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw"])
def test_damaged_and_lost_source_shards_are_named_and_never_zeros(tmp_path: Path, data_format: str) -> None:
    images = tmp_path / "noise"
    images.mkdir()
    rng = np.random.default_rng(3)
    for z in range(40):
        tifffile.imwrite(images / f"{z}.tif", rng.integers(1, 255, size=(80, 90), dtype="u1"))
    target = tmp_path / "target"
    shapes = ["--chunk-shape", "32"] if data_format == "zarr" else ["--shard-shape", "64,64,64"]
    assert convert(images, target, "--no-downsample", "--data-format", data_format, *shapes).returncode == 0
    metadata = ("zarr.json", ".zarray", ".zattrs", "header.wkw")
    shard = min(path for path in (target / "noise" / "1").rglob("*") if path.is_file() and path.name not in metadata)
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    result = run("downsample", target)
    refused(result, 4, str(shard) if data_format != "zarr" else "noise")
    shard.unlink()
    refused(run("downsample", target), 4, "mag 1", "gone")
    assert list(Dataset.open(target).get_layer("noise").mags) == [Mag(1)]
    coarser = [path for path in (target / "noise").glob("[!1]*/**/*") if path.is_file()]
    assert {path.name for path in coarser} <= set(metadata)
    shard.write_bytes(whole)
    assert run("downsample", target).returncode == 0


def test_a_read_only_dataset(slices: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    assert convert(slices, target, "--no-downsample").returncode == 0
    mount = subprocess.run(["mount", "--bind", "-o", "ro", target, target], capture_output=True, text=True, check=False)
    if mount.returncode != 0:
        pytest.skip(f"a read-only mount needs more rights: {mount.stderr.strip()}")
    try:
        refused(run("downsample", target), 3, "not writable")
        assert run("info", target).returncode == 0
        assert run("verify", target).returncode == 0
    finally:
        subprocess.run(["umount", target], check=True)


def test_a_full_disk_is_survived(tmp_path: Path) -> None:
    images = tmp_path / "noise"
    images.mkdir()
    rng = np.random.default_rng(5)
    for z in range(64):
        tifffile.imwrite(images / f"{z}.tif", rng.integers(0, 255, size=(256, 256), dtype="u1"))
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, text=True, check=False)
    if mount.returncode != 0:
        pytest.skip(f"a small file system needs more rights: {mount.stderr.strip()}")
    try:
        refused(convert(images, disk / "target", *SHARDS), 3, "at least", "free some space")
        refused(convert(images, disk / "target", *SHARDS, "--ignore-disk-space", "--quiet"), 3, "full")
        assert not list(disk.rglob("*.tmp"))
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
        assert convert(images, disk / "target", *SHARDS).returncode == 0
        assert run("verify", disk / "target").returncode == 0
    finally:
        subprocess.run(["umount", disk], check=True)


def test_plain_snakemake_refuses_alike(slices: Path, tmp_path: Path) -> None:
    def snakemake(source: Path, *more: str, **config: str) -> subprocess.CompletedProcess[str]:
        command = snakemake_command(source, tmp_path / "target", *more, **config)
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    for flags in ((), ("-n",)):
        result = snakemake(slices, *flags, interpolation_mode="average")
        assert result.returncode == 2
        assert "interpolation_mode" in result.stderr
        assert "Traceback" not in result.stderr
        result = snakemake(tmp_path / "nowhere", *flags)
        assert result.returncode == 3
        assert "nowhere" in result.stderr
    assert not (tmp_path / "target").exists()


def test_the_workflow_is_clean() -> None:
    command = [sys.executable, "-m", "snakemake", "--lint", "--snakefile", str(REPOSITORY / "Snakefile")]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_second_ladder_beside_the_first(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for z in range(40):
        tifffile.imwrite(images / f"{z}.tif", np.full((64, 64), z, dtype="u1"))
    target = tmp_path / "target"
    assert convert(images, target).returncode == 0
    refused(convert(images, target, "--sampling-mode", "isotropic"), 3, "2-2-1", "sampling mode")
    assert convert(images, target, "--sampling-mode", "isotropic", "--no-downsample").returncode == 0


@pytest.mark.parametrize(
    "arguments", [["downsample", ""], ["convert", "", "target"], ["convert", "source", ""], ["verify", ""], ["info", ""]]
)
def test_empty_paths_are_not_the_current_directory(tmp_path: Path, arguments: list[str]) -> None:
    more = ["--voxel-size", "1,1,1"] if arguments[0] == "convert" else []
    refused(run(*arguments, *more, cwd=tmp_path), 2, "path")
    assert not list(tmp_path.iterdir())


def test_a_home_that_cannot_be_written(slices: Path, tmp_path: Path) -> None:
    result = run("convert", slices, tmp_path / "target", "--voxel-size", VOXEL_SIZE, HOME="/proc/nowhere")
    assert result.returncode == 0, result.stderr


def test_a_terminal_without_unicode(slices: Path, tmp_path: Path) -> None:
    result = run("convert", slices, tmp_path / "target", "--voxel-size", VOXEL_SIZE, "--dry-run", PYTHONIOENCODING="ascii")
    assert result.returncode == 0, result.stderr
    assert "2-2-1" in result.stdout


def test_no_command_shows_the_help() -> None:
    result = run()
    assert result.returncode == 0
    assert "downsample" in result.stdout
