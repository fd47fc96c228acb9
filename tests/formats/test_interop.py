"""Other libraries read what wkpipe writes, and wkpipe reads what they write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
import wkw
import zarr

from tests.formats.helpers import DTYPES, files_of, new_array, noise, scratch_of, write_array
from wkpipe.errors import InputRefused
from wkpipe.formats import open_array
from wkpipe.formats.base import Compression
from wkpipe.formats.chunk_files import ChunkFilesArray
from wkpipe.formats.foreign import ForeignArray
from wkpipe.formats.sharded import ShardedArray

SHAPE = (2, 32, 16, 32)


def with_tensorstore(path: Path, driver: str) -> Any:
    return ts.open({"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}}).result()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shard", [8, 16])
@pytest.mark.parametrize("compression", [True, False])
def test_others_read_our_zarr3(tmp_path: Path, dtype: str, shard: int, compression: bool) -> None:
    data = noise(SHAPE, dtype)
    array = new_array(tmp_path / "a", "zarr3", SHAPE, dtype, shard=shard, compression=compression)
    write_array(array, data, scratch_of(array.path), seed=3)
    np.testing.assert_array_equal(with_tensorstore(array.path, "zarr3").read().result(), data)
    np.testing.assert_array_equal(zarr.open_array(array.path, mode="r")[:], data)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compression", [True, False])
def test_others_read_our_zarr2(tmp_path: Path, dtype: str, compression: bool) -> None:
    data = noise(SHAPE, dtype)
    array = new_array(tmp_path / "a", "zarr", SHAPE, dtype, compression=compression)
    write_array(array, data, scratch_of(array.path), seed=3)
    np.testing.assert_array_equal(with_tensorstore(array.path, "zarr").read().result(), data)
    np.testing.assert_array_equal(zarr.open_array(array.path, mode="r", zarr_format=2)[:], data)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("compression", [Compression("lz4hc"), Compression("lz4"), Compression("none")])
def test_wkw_reads_ours(tmp_path: Path, dtype: str, compression: Compression) -> None:
    data = noise(SHAPE, dtype)
    array = new_array(tmp_path / "a", "wkw", SHAPE, dtype, compression=compression)
    write_array(array, data, scratch_of(array.path), seed=3)
    with wkw.Dataset.open(str(array.path)) as dataset:
        np.testing.assert_array_equal(dataset.read((0, 0, 0), SHAPE[1:]), data)


@pytest.mark.parametrize("dtype", DTYPES)
def test_wkw_files_equal_those_of_the_wkw_library(tmp_path: Path, dtype: str) -> None:
    """Byte by byte, both raw and compressed files."""
    data = noise(SHAPE, dtype, holes=False)
    data[:, 8:16] = 0  # zero blocks within files
    data[:, 3:6] = 1
    with wkw.Dataset.create(str(tmp_path / "raw"), wkw.Header(np.dtype(dtype), SHAPE[0], block_len=8, file_len=2)) as dataset:
        dataset.write((0, 0, 0), data)
        dataset.compress(str(tmp_path / "hc"), compress_files=True)
    for name, compression in [("raw", Compression("none")), ("hc", Compression("lz4hc"))]:
        read = open_array(tmp_path / name, "wkw")
        np.testing.assert_array_equal(read.read((0,) * 4, SHAPE), data)
        np.testing.assert_array_equal(read.read((1, 5, 3, 9), (1, 9, 13, 14)), data[1:, 5:14, 3:16, 9:23])
        ours = new_array(tmp_path / f"our-{name}", "wkw", SHAPE, dtype, compression=compression)
        write_array(ours, data, scratch_of(ours.path), seed=4)
        assert files_of(ours.path) == files_of(tmp_path / name)


def test_wkw_with_a_compressed_file_among_raw_ones(tmp_path: Path) -> None:
    data = noise(SHAPE, "uint16", holes=False)
    with wkw.Dataset.create(str(tmp_path / "raw"), wkw.Header(np.dtype("uint16"), SHAPE[0], block_len=8, file_len=2)) as dataset:
        dataset.write((0, 0, 0), data)
    wkw.File.compress(str(tmp_path / "raw/z1/y0/x1.wkw"), str(tmp_path / "one"))
    (tmp_path / "one").rename(tmp_path / "raw/z1/y0/x1.wkw")
    np.testing.assert_array_equal(open_array(tmp_path / "raw", "wkw").read((0,) * 4, SHAPE), data)


INNER: dict[str, list[dict[str, Any]]] = {
    "c-order": [{"name": "bytes", "configuration": {"endian": "little"}}],
    "big-endian": [{"name": "bytes", "configuration": {"endian": "big"}}, {"name": "zstd", "configuration": {"level": 1}}],
    "any-order": [
        {"name": "transpose", "configuration": {"order": [2, 0, 3, 1]}},
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "zstd", "configuration": {"level": 3, "checksum": True}},
    ],
    "gzip": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "gzip", "configuration": {"level": 5}}],
    "blosc": [
        {"name": "transpose", "configuration": {"order": [3, 2, 1, 0]}},
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "blosc", "configuration": {"cname": "zstd", "clevel": 3, "shuffle": "shuffle", "typesize": 2, "blocksize": 0}},
    ],
    "crc32c": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
}
NATIVE = ("c-order", "big-endian", "any-order")


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("where", ["start", "end", "unsharded"])
@pytest.mark.parametrize("keys", ["default/", "default.", "v2/", "v2."])
def test_we_read_zarr3_of_tensorstore(tmp_path: Path, inner: str, where: str, keys: str) -> None:
    data = noise((2, 30, 15, 33), "uint16")
    chunk_shape = [2, 8, 8, 8]
    codecs = INNER[inner]
    if where != "unsharded":
        configuration = {
            "chunk_shape": chunk_shape,
            "codecs": INNER[inner],
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
            "index_location": where,
        }
        codecs = [{"name": "sharding_indexed", "configuration": configuration}]
    metadata = {
        "shape": list(data.shape),
        "data_type": "uint16",
        "fill_value": 0,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunk_shape if where == "unsharded" else [2, 16, 16, 16]}},
        "chunk_key_encoding": {"name": keys[:-1], "configuration": {"separator": keys[-1]}},
        "codecs": codecs,
    }
    path = tmp_path / "a"
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{path}/"}, "metadata": metadata}
    ts.open(spec, create=True).result().write(data).result()
    array = open_array(path, "zarr3")
    native = ChunkFilesArray if where == "unsharded" else ShardedArray
    assert isinstance(array, native if inner in NATIVE else ForeignArray)
    np.testing.assert_array_equal(array.read((0,) * 4, data.shape), data)
    np.testing.assert_array_equal(array.read((0, 7, 5, 20), (2, 10, 9, 30))[..., :13], data[:, 7:17, 5:14, 20:])
    assert not array.read((0, 0, 0, 33), (2, 30, 15, 40)).any()
    units = list(array.stored_units())
    assert units
    for unit in units:
        array.check_unit(unit)
        proof = array.prove_unit(unit)
        assert proof is not None
        assert proof.files == len(array.unit_files(unit)) > 0
    if isinstance(array, ForeignArray):
        with pytest.raises(InputRefused, match=inner.split("-")[0]):
            array.unit_writer((0, 0, 0, 0), scratch_of(path))
        with pytest.raises(InputRefused):
            array.resize(array.spec.shape, scratch_of(path))
    else:  # a natively read array can also be written, in the file's own layout
        write_array(array, data[:, ::-1], scratch_of(path), seed=1)
        np.testing.assert_array_equal(with_tensorstore(path, "zarr3").read().result(), data[:, ::-1])


@pytest.mark.parametrize("shards", [None, (2, 16, 16, 32)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_we_read_zarr3_of_zarr_python(tmp_path: Path, shards: tuple[int, ...] | None, order: str) -> None:
    data = noise(SHAPE, "uint16")
    stored = zarr.create_array(
        tmp_path / "a", shape=SHAPE, chunks=(2, 8, 8, 16), shards=shards, dtype="uint16", compressors="auto", fill_value=0, order=order
    )
    stored[:] = data
    np.testing.assert_array_equal(open_array(tmp_path / "a", "zarr3").read((0,) * 4, SHAPE), data)


@pytest.mark.parametrize("fill", [7, 0])
def test_the_fill_value_is_that_of_the_file(tmp_path: Path, fill: int) -> None:
    for zarr_format, data_format in [(2, "zarr"), (3, "zarr3")]:
        path = tmp_path / data_format
        stored = zarr.create_array(path, shape=(20, 20, 20), chunks=(8, 8, 8), dtype="int16", fill_value=fill, zarr_format=zarr_format)
        stored[:8, :8, :8] = 3
        array = open_array(path, data_format)
        expected = np.full((30, 30, 30), fill, np.int16)
        expected[:8, :8, :8] = 3
        np.testing.assert_array_equal(array.read((0, 0, 0), (30, 30, 30)), expected)
        assert array.is_fill((8, 0, 0), (12, 20, 20))
        assert not array.is_fill((7, 0, 0), (1, 1, 1))
        with array.unit_writer((0, 0, 0), scratch_of(path)) as writer:
            assert writer.encode(np.full((8, 8, 8), fill, np.int16, order="F")) is None


def test_nan_as_fill_value(tmp_path: Path) -> None:
    for zarr_format, data_format in [(2, "zarr"), (3, "zarr3")]:
        path = tmp_path / data_format
        zarr.create_array(path, shape=(8, 8, 8), chunks=(8, 8, 8), dtype="float32", fill_value=np.nan, zarr_format=zarr_format)
        assert np.isnan(open_array(path, data_format).read((0, 0, 0), (9, 9, 9))).all()


COMPRESSORS: dict[str, Any] = {
    "none": None,
    "zstd": {"id": "zstd", "level": 3},
    "blosc": {"id": "blosc", "cname": "lz4", "clevel": 5, "shuffle": 1},
    "gzip": {"id": "gzip", "level": 5},
}


@pytest.mark.parametrize("compressor", COMPRESSORS)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("separator", ["/", "."])
@pytest.mark.parametrize("dtype", ["<u2", ">u2", "|i1"])
def test_we_read_zarr2_of_zarr_python(tmp_path: Path, compressor: str, order: str, separator: str, dtype: str) -> None:
    data = noise((2, 20, 15, 17), np.dtype(dtype).newbyteorder("="))
    stored = zarr.create_array(
        tmp_path / "a",
        shape=data.shape,
        chunks=(2, 8, 8, 8),
        dtype=np.dtype(dtype),
        compressors=COMPRESSORS[compressor],
        order=order,
        fill_value=0,
        zarr_format=2,
        chunk_key_encoding={"name": "v2", "separator": separator},
    )
    stored[:] = data
    array = open_array(tmp_path / "a", "zarr")
    assert isinstance(array, ChunkFilesArray if compressor in ("none", "zstd") else ForeignArray)
    assert array.spec.dtype == data.dtype.newbyteorder("<")
    np.testing.assert_array_equal(array.read((0,) * 4, data.shape), data)
    assert not array.is_fill((0,) * 4, data.shape)
    assert array.is_fill((0, 0, 0, 24), (2, 8, 8, 8))
    for unit in array.stored_units():
        array.check_unit(unit)


def test_zarr2_filters_are_refused(tmp_path: Path) -> None:
    """tensorstore does not know them either."""
    path = tmp_path / "a"
    zarr.create_array(path, shape=(8, 8, 8), chunks=(8, 8, 8), dtype="<u2", compressors=None, fill_value=0, zarr_format=2)
    metadata = json.loads((path / ".zarray").read_text())
    (path / ".zarray").write_text(json.dumps(metadata | {"filters": [{"id": "delta", "dtype": "<u2"}]}))
    with pytest.raises(InputRefused, match="filters"):
        open_array(path, "zarr")


def test_a_zarr2_array_without_separator_uses_dots(tmp_path: Path) -> None:
    data = noise((2, 20, 15, 17), "uint8", holes=False)
    stored = zarr.create_array(tmp_path / "a", shape=data.shape, chunks=(2, 8, 8, 8), dtype="uint8", compressors=None, zarr_format=2)
    stored[:] = data
    metadata = json.loads((tmp_path / "a/.zarray").read_text())
    metadata.pop("dimension_separator")
    (tmp_path / "a/.zarray").write_text(json.dumps(metadata))
    assert (tmp_path / "a/0.0.0.0").exists()
    np.testing.assert_array_equal(open_array(tmp_path / "a", "zarr").read((0,) * 4, data.shape), data)


@pytest.mark.parametrize("compression", ["raw", "gzip", "blosc"])
def test_we_read_n5(tmp_path: Path, compression: str) -> None:
    data = noise((2, 20, 15, 17), "uint16")
    codec = {"type": compression, **({"cname": "lz4", "clevel": 5, "shuffle": 1} if compression == "blosc" else {})}
    metadata = {"dimensions": list(data.shape), "blockSize": [2, 8, 8, 8], "dataType": "uint16", "compression": codec}
    path = tmp_path / "a"
    ts.open({"driver": "n5", "kvstore": {"driver": "file", "path": f"{path}/"}, "metadata": metadata}, create=True).result().write(
        data
    ).result()
    array = open_array(path, "n5")
    np.testing.assert_array_equal(array.read((0,) * 4, data.shape), data)
    for unit in array.stored_units():
        array.check_unit(unit)
        assert len(array.unit_files(unit)) > 1


@pytest.mark.parametrize(
    "sharding",
    [None, {"@type": "neuroglancer_uint64_sharded_v1", "preshift_bits": 1, "minishard_bits": 1, "shard_bits": 1, "hash": "identity"}],
)
def test_we_read_precomputed(tmp_path: Path, sharding: dict[str, Any] | None) -> None:
    data = noise((2, 20, 15, 17), "uint16", holes=False)
    scale = {
        "size": [20, 15, 17],
        "encoding": "raw",
        "chunk_size": [8, 8, 8],
        "resolution": [4, 4, 4],
        "key": "4_4_4",
        "voxel_offset": [8, 0, 3],
        **({"sharding": sharding} if sharding else {}),
    }
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{tmp_path}/"},
        "multiscale_metadata": {"type": "image", "data_type": "uint16", "num_channels": 2},
        "scale_metadata": scale,
    }
    ts.open(spec, create=True).result().write(data.transpose(1, 2, 3, 0)).result()
    array = open_array(tmp_path / "4_4_4", "neuroglancerPrecomputed")
    assert array.spec.shape == (2, 28, 15, 20)
    expected = np.zeros((2, 40, 40, 40), np.uint16)
    expected[:, 8:28, :15, 3:20] = data
    np.testing.assert_array_equal(array.read((0,) * 4, (2, 40, 40, 40)), expected)
    assert not array.is_fill((0, 8, 0, 3), (2, 1, 1, 1))
    assert list(array.stored_units()) == [(0, 0, 0, 0)]
    array.check_unit((0, 0, 0, 0))
    assert array.unit_files((0, 0, 0, 0))
