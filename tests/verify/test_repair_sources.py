"""Repair makes units again from the same source with the same options: gaps that were closed, globs, patterns and archives."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.users import run_app
from wkpipe import Dataset

NUMBERS = (1, 2, 4, 5, 6)


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    for i in NUMBERS:
        tifffile.imwrite(folder / f"s{i}_c0.tif", np.full((9, 11), i, np.uint8), photometric="minisblack")
    with zipfile.ZipFile(tmp_path / "scans.zip", "w") as file:
        for path in folder.iterdir():
            file.write(path, path.name)
    (tmp_path / "lost.txt").write_text("3")
    return folder


CASES = [
    ("scans", {}),
    ("scans/*.tif", {"missing_slices": "fill"}),
    ("scans.zip", {"pattern": "s{z}_c{c}.tif", "missing_slices": "repeat"}),
    ("scans", {"missing_slices": "from:lost.txt", "family": "tif"}),
]


@pytest.mark.parametrize("source, options", CASES)
def test_repair_knows_the_source_and_its_options(
    tmp_path: Path, slices: Path, monkeypatch: pytest.MonkeyPatch, source: str, options: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    layer = Dataset.from_images(source, "d", (1, 1, 1), layer_category="color", downsample=False, layer_name="em", **options)  # type: ignore[arg-type]
    (name,) = layer.layers
    before = layer.get_layer(name).get_mag(1).read()
    (shard,) = (path for path in Path("d", name, "1").rglob("*") if path.is_file() and path.name != "zarr.json")
    stat = shard.stat()
    content = bytearray(shard.read_bytes())
    content[5] ^= 1
    shard.write_bytes(content)
    os.utime(shard, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    monkeypatch.chdir("/")
    assert run_app(["verify", str(tmp_path / "d"), "--repair", "-q"]) == 0
    np.testing.assert_array_equal(Dataset.open(tmp_path / "d").get_layer(name).get_mag(1).read(), before)
