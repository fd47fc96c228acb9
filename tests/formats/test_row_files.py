"""Arrays of rows: whatever their size, they are read as they were written, by tensorstore too."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorstore

from wkpipe.formats.row_files import read_rows, row_files
from wkpipe.storage.new_directory import make_directory_with
from wkpipe.stored.places import place_at

CHUNK_BYTES = 64


@pytest.mark.parametrize("dtype,columns", [("<u8", None), ("<u4", 2), ("<f4", 3)])
def test_rows_are_read_as_they_were_written(dtype: str, columns: int | None, tmp_path: Path) -> None:
    row_bytes = np.dtype(dtype).itemsize * (columns or 1)
    in_chunk = CHUNK_BYTES // row_bytes
    in_shard = -(-(4096 * CHUNK_BYTES // row_bytes) // in_chunk) * in_chunk
    for count in (0, 1, in_chunk, in_chunk + 1, in_shard, in_shard + 1):
        rows = np.random.default_rng(count).integers(0, 99, (count, *([columns] if columns else []))).astype(dtype)
        rows[: 3 * in_chunk] = 0
        path = tmp_path / str(count)
        make_directory_with(path, list(row_files(rows, CHUNK_BYTES)))
        found = read_rows(place_at(path), columns, "f" if dtype == "<f4" else "iu")
        assert np.array_equal(found, rows)
        store = tensorstore.open({"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/"}}, open=True).result()
        assert np.array_equal(store.read().result(), rows)
        shards = [file for file in (path / "c").rglob("*") if file.is_file()] if (path / "c").exists() else []
        assert len(shards) == (0 if not rows.any() else 1 + (count > in_shard))
        metadata = json.loads((path / "zarr.json").read_bytes())
        chunk, shard = metadata["codecs"][0]["configuration"]["chunk_shape"][0], metadata["chunk_grid"]["configuration"]["chunk_shape"][0]
        assert chunk == max(1, min(count, in_chunk))
        assert shard % chunk == 0
        assert shard <= in_shard
