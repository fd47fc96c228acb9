"""Broken and hostile metadata is refused in one line with the file's name; impossible arrays are refused before anything is created."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.formats.helpers import files_of, new_array, scratch_of, spec_of
from wkpipe.errors import InputRefused, MetadataError
from wkpipe.formats import create_array, make_spec, open_array
from wkpipe.formats.base import ArraySpec, Compression, DataFormat
from wkpipe.formats.wkw_header import WkwHeader

FILES = {"zarr3": "zarr.json", "zarr": ".zarray", "n5": "attributes.json"}
N5 = {"dimensions": [1, 16, 16, 16], "blockSize": [1, 8, 8, 8], "dataType": "uint8", "compression": {"type": "raw"}}


def made(tmp_path: Path, data_format: str) -> dict[str, Any]:
    if data_format == "n5":
        (tmp_path / "a").mkdir()
        (tmp_path / "a/attributes.json").write_text(json.dumps(N5))
    else:
        new_array(tmp_path / "a", data_format, (1, 16, 16, 16), "uint16")
    content: dict[str, Any] = json.loads((tmp_path / "a" / FILES[data_format]).read_text())
    return content


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [prefix, *(p for key, child in children for p in paths(child, (*prefix, key)))]


def replaced(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    content = copy.deepcopy(content)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return content


WRONG = [None, True, -1, 0, 2**31, 2**70, 1.5, "x", "", [], {}, [0], [[]], {"name": 3}, [-1] * 4, [2**40] * 4, [1.0] * 4, [1] * 4, "0x00"]


@pytest.mark.parametrize("data_format", FILES)
def test_any_value_replaced_by_any_other(tmp_path: Path, data_format: str) -> None:
    """The array opens or is refused in one line; an array that opens can be read."""
    content = made(tmp_path, data_format)
    file = tmp_path / "a" / FILES[data_format]
    messages = []
    for path in paths(content):
        for value in WRONG:
            file.write_text(json.dumps(replaced(content, path, value)))
            try:
                array = open_array(tmp_path / "a", data_format)
            except MetadataError as error:
                messages.append(str(error))
                continue
            assert array.spec.chunk_bytes <= 2 << 30
            array.read((0,) * len(array.spec.axes), (1,) * len(array.spec.axes))
    assert len(messages) > 50
    assert all(str(tmp_path / "a") in message and "\n" not in message for message in messages)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=80))
def test_any_bytes_as_metadata(tmp_path: Path, raw: bytes) -> None:
    for data_format, name in [*FILES.items(), ("wkw", "header.wkw")]:
        (tmp_path / data_format).mkdir(exist_ok=True)
        (tmp_path / data_format / name).write_bytes(raw)
        with pytest.raises(MetadataError):
            open_array(tmp_path / data_format, data_format)


@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 10_000, '{"a":' * 50_000, "", "null", "[]", '"x"', "{", "\x00", "NaN"])
def test_odd_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "zarr.json").write_text(text)
    with pytest.raises(MetadataError, match=r"zarr\.json"):
        open_array(tmp_path, "zarr3")


@pytest.mark.parametrize("data_format", ["zarr3", "zarr", "wkw", "n5", "neuroglancerPrecomputed"])
def test_nothing_there(tmp_path: Path, data_format: str) -> None:
    with pytest.raises(MetadataError, match="does not exist"):
        open_array(tmp_path / "absent" / "1", data_format)


def test_messages_say_found_and_expected(tmp_path: Path) -> None:
    content = made(tmp_path, "zarr3")
    for path, value, text in [
        (("data_type",), "complex64", 'zarr.json: data_type: found "complex64", expected one of uint8'),
        (("shape",), [1, 2], "shape"),
        (("zarr_format",), 4, "zarr.json: zarr_format: found 4, expected 3"),
        (("chunk_grid", "configuration", "chunk_shape"), [1, 2**40, 16, 16], "at most"),
    ]:
        (tmp_path / "a/zarr.json").write_text(json.dumps(replaced(content, path, value)))
        with pytest.raises(MetadataError) as caught:
            open_array(tmp_path / "a", "zarr3")
        assert text in str(caught.value)


def test_axes(tmp_path: Path) -> None:
    content = made(tmp_path, "zarr3")
    assert open_array(tmp_path / "a", "zarr3").spec.axes == ("c", "x", "y", "z")
    assert open_array(tmp_path / "a", "zarr3", ("t", "x", "y", "z")).spec.axes == ("t", "x", "y", "z")
    del content["dimension_names"]
    (tmp_path / "a/zarr.json").write_text(json.dumps(content))
    assert open_array(tmp_path / "a", "zarr3").spec.axes == ("c", "x", "y", "z")
    with pytest.raises(MetadataError, match="per axis"):
        open_array(tmp_path / "a", "zarr3", ("x", "y", "z"))
    with pytest.raises(InputRefused, match="wkw"):
        open_array(tmp_path / "a", "wkw", ("x", "y", "z"))


def test_unknown_keys_survive_a_resize(tmp_path: Path) -> None:
    for data_format in ("zarr3", "zarr"):
        array = new_array(tmp_path / data_format, data_format, (1, 16, 16, 16))
        file = array.path / FILES[data_format]
        content = json.loads(file.read_text())
        content["attributes"] = {"mine": [1, "ü"]}
        file.write_text(json.dumps(content))
        array.resize((1, 32, 16, 16), scratch_of(array.path))
        assert json.loads(file.read_text()) == {**content, "shape": [1, 32, 16, 16]}


def test_wkw_headers() -> None:
    for kind, edge, files, dtype, channels in [
        (1, 8, 2, "uint8", 1),
        (3, 8, 2, "uint8", 3),
        (3, 32, 32, "uint64", 1),
        (2, 1, 1, "int8", 255),
    ]:
        header = WkwHeader(edge, files, kind, np.dtype(dtype), channels)
        assert WkwHeader.parse(header.pack()) == header
    assert WkwHeader(8, 2, 1, np.dtype("uint8"), 1).pack().hex() == "574b5701130101010000000000000000"
    assert WkwHeader(8, 2, 3, np.dtype("uint8"), 3).pack(80).hex() == "574b5701130301035000000000000000"
    assert WkwHeader(32, 32, 3, np.dtype("uint8"), 1).pack()[4] == 0x55


def test_a_wkw_header_with_absurd_blocks(tmp_path: Path) -> None:
    for edges in (0x0F, 0xF5, 0x0B):
        (tmp_path / "header.wkw").write_bytes(bytes.fromhex("574b5701") + bytes([edges, 3, 4, 8]) + bytes(8))
        with pytest.raises(MetadataError, match=r"header\.wkw"):
            open_array(tmp_path, "wkw")


IMPOSSIBLE: list[tuple[str, dict[str, Any]]] = [
    ("zarr3", {"chunk": 12}),
    ("zarr3", {"chunk": 8, "shard": 12}),
    ("zarr3", {"chunk": 16, "shard": 8}),
    ("zarr3", {"dtype": "bool"}),
    ("zarr3", {"dtype": "float16"}),
    ("zarr3", {"dtype": "complex64"}),
    ("zarr3", {"chunk": 2048, "shard": 2048}),
    ("zarr3", {"chunk": 1, "shard": 512}),
    ("zarr3", {"compression": Compression("lz4")}),
    ("zarr3", {"compression": Compression("zstd", 23)}),
    ("zarr3", {"axes": ("c", "x", "y", "y")}),
    ("zarr3", {"axes": ("c", "x", "y", "t")}),
    ("wkw", {"chunk": (8, 8, 16), "shard": 16}),
    ("wkw", {"shard": (16, 16, 32)}),
    ("wkw", {"compression": Compression("zstd", 5)}),
    ("wkw", {"shape": (256, 16, 16, 16)}),
    ("wkw", {"shape": (32, 16, 16, 16), "dtype": "uint64"}),
    ("wkw", {"axes": ("t", "x", "y", "z")}),
    ("wkw", {"axes": ("x", "y", "z"), "shape": (16, 16, 16)}),
    ("wkw", {"shard": 2048}),
    ("n5", {}),
    ("neuroglancerPrecomputed", {}),
]


@pytest.mark.parametrize("data_format, changes", IMPOSSIBLE)
def test_impossible_arrays(data_format: str, changes: dict[str, Any]) -> None:
    with pytest.raises(InputRefused) as caught:
        spec_of(data_format, **{"shape": (1, 16, 16, 16), **changes})
    assert "\n" not in str(caught.value)


def test_nothing_is_made_of_an_impossible_array(tmp_path: Path) -> None:
    cube = (1, 8, 8, 8)
    for wrong in (
        ArraySpec(DataFormat.ZARR, ("c", "x", "y", "z"), (1, 16, 16, 16), np.dtype("u1"), cube, (1, 16, 16, 16), Compression("zstd", 5)),
        ArraySpec(DataFormat.ZARR3, ("c", "x", "y", "z"), (1, 16, 16), np.dtype("u1"), cube, cube, Compression("zstd", 5)),
        ArraySpec(DataFormat.ZARR3, ("c", "x", "y", "z"), (1, 16, 16, 16), np.dtype(">u2"), cube, cube, Compression("zstd", 5)),
        ArraySpec(DataFormat.WKW, ("c", "x", "y", "z"), (2, 16, 16, 16), np.dtype("u1"), cube, cube, Compression("lz4hc")),
        ArraySpec(DataFormat.WKW, ("c", "x", "y", "z"), (1, 16, 16, 16), np.dtype("u1"), cube, cube, Compression("lz4hc"), fill_value=1),
    ):
        with pytest.raises(InputRefused):
            create_array(tmp_path / "a", wrong, scratch_of(tmp_path / "a"))
    assert files_of(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []


def test_make_spec() -> None:
    spec = make_spec(DataFormat.ZARR3, ("t", "c", "x", "y", "z"), (3, 1, 40, 28, 18), np.uint16, 2, (8, 8, 8), (16, 16, 32))
    assert spec.shape == (3, 2, 48, 32, 32)
    assert spec.chunk_shape == (1, 2, 8, 8, 8)
    assert spec.shard_shape == (1, 2, 16, 16, 32)
    assert spec.compression == Compression("zstd", 5)
    assert make_spec(DataFormat.WKW, "cxyz", (1, 40, 40, 40), "uint8", 1, (8,) * 3, (16,) * 3).compression == Compression("lz4hc")
    assert make_spec(DataFormat.ZARR, "xyz", (40, 28, 18), "f4", 1, (8,) * 3, (8,) * 3, False).shape == (40, 32, 24)
