"""The number of open shards is limited; unused ones are closed; threads share them safely."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.formats.helpers import new_array, noise, scratch_of, write_array
from wkpipe.formats import open_array, sharded
from wkpipe.formats.open_files import OpenShards

SHAPE = (1, 64, 64, 64)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="there is no /proc here")
@pytest.mark.parametrize("data_format", ["zarr3", "wkw", "zarr"])
def test_descriptors_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_format: str) -> None:
    data = noise(SHAPE, "uint8", holes=False)
    array = new_array(tmp_path / "a", data_format, SHAPE)
    write_array(array, data, scratch_of(array.path))
    before = open_descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(sharded, "OPEN_SHARDS", OpenShards(max_files=3))
        for _ in range(2):
            np.testing.assert_array_equal(array.read((0,) * 4, SHAPE), data)
        assert open_descriptors() <= before + 3
    assert open_descriptors() <= before


def test_an_index_budget_keeps_at_least_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded, "OPEN_SHARDS", OpenShards(max_bytes=1))
    data = noise(SHAPE, "uint8", holes=False)
    array = new_array(tmp_path / "a", "zarr3", SHAPE)
    write_array(array, data, scratch_of(array.path))
    np.testing.assert_array_equal(array.read((0,) * 4, SHAPE), data)


@pytest.mark.parametrize("data_format", ["zarr3", "wkw"])
def test_many_threads_read_while_shards_are_pushed_out_and_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_format: str
) -> None:
    monkeypatch.setattr(sharded, "OPEN_SHARDS", OpenShards(max_files=2))
    data = noise(SHAPE, "uint16", holes=False)
    array = new_array(tmp_path / "a", data_format, SHAPE, "uint16")
    write_array(array, data, scratch_of(array.path))
    reader = open_array(array.path, data_format)

    def read(number: int) -> bool:
        start = (0, number * 7 % 40, number * 11 % 40, number * 13 % 40)
        cut = tuple(slice(a, a + n) for a, n in zip(start, (1, 20, 24, 17), strict=True))
        return bool((reader.read(start, (1, 20, 24, 17)) == data[cut]).all())

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read, number) for number in range(40)]
        pool.submit(write_array, array, data, scratch_of(array.path), 3).result()
        assert all(future.result() for future in readers)
