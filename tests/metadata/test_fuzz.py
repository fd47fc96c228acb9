"""Any file loads, or raises a MetadataError of one line; a file that loads can be written and read again."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wkpipe.errors import MetadataError
from wkpipe.metadata.properties import DatasetProperties

KEYS = [
    *("id", "name", "team", "scale", "factor", "unit", "dataLayers", "version", "category", "boundingBox", "topLeft", "width", "height"),
    *("depth", "dataFormat", "mags", "mag", "path", "cubeLength", "axisOrder", "channelIndex", "wkwResolutions", "resolution", "value"),
    *("defaultViewConfiguration", "coordinateTransformations", "largestSegmentId", "mappings", "attachments", "additionalAxes", "index"),
    *("numChannels", "elementClass", "bounds", "customJsonEncoding", "layers", "color", "intensityRange", "c", "x", "y", "z", "type"),
]
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([0, -1, 1, 3, 2**53, 2**63, 2**64, 10**400, 1e308, 5e-324])
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(
        ["color", "segmentation", "wkw", "zarr3", "uint24", "uint8", "float", "nm", "2-2-1", "bigint", "\n", "\ud800", "affine"]
    )
)
keys = st.sampled_from(KEYS) | st.text(max_size=4)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5), max_leaves=12)

BOX = {"topLeft": [0, 0, 0], "width": 8, "height": 8, "depth": 8, "axisOrder": {"c": 0, "x": 1, "y": 2, "z": 3}, "channelIndex": 0}
RICH: dict[str, Any] = {
    "id": {"name": "n", "team": ""},
    "scale": {"factor": [1, 2, 3], "unit": "nm"},
    "dataLayers": [
        {
            "name": "s",
            "category": "segmentation",
            "boundingBox": BOX,
            "dataFormat": "zarr3",
            "mags": [
                {"mag": [1, 1, 1], "path": "./s/1", "axisOrder": {"c": 1, "x": 2, "y": 3, "z": 4}, "channelIndex": 1},
                {"mag": "2-2-1", "cubeLength": 32},
            ],
            "defaultViewConfiguration": {"color": [1, 2, 3], "alpha": 1, "intensityRange": [0, 1], "mapping": {"name": "m"}},
            "coordinateTransformations": [{"type": "affine", "matrix": [[1, 0, 0, 0]] * 4}],
            "largestSegmentId": {"customJsonEncoding": "bigint", "value": "5"},
            "mappings": ["a"],
            "attachments": {"meshes": [{"name": "m", "path": "p", "dataFormat": "hdf5"}], "cumsum": None},
            "additionalAxes": [{"name": "t", "bounds": [0, 3], "index": 0}],
            "numChannels": 2,
            "elementClass": "uint64",
        },
        {
            "name": "old",
            "category": "color",
            "boundingBox": BOX,
            "dataFormat": "wkw",
            "wkwResolutions": [{"resolution": 1, "cubeLength": 1024}],
            "elementClass": "uint24",
        },
    ],
    "version": 1,
    "defaultViewConfiguration": {"position": [1, 2, 3], "zoom": 1.5, "layers": {"s": {"is_disabled": True}}},
}


def check(data: bytes) -> DatasetProperties | None:
    """Read a file, and if that is possible, write it and read it again."""
    try:
        properties = DatasetProperties.from_bytes(data, "file")
    except MetadataError as error:
        text = str(error)
        assert text.startswith("file: ")
        assert text.isprintable(), "an error is one line of text"
        assert len(text) < 1000
        return None
    written = properties.to_bytes()
    assert DatasetProperties.from_bytes(written).to_bytes() == written
    for layer in properties.layers:
        assert set(layer.bounding_box().axes) >= {"x", "y", "z"}
    return properties


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_the_example_loads() -> None:
    assert check(encode(RICH)) is not None


@given(st.binary(max_size=40))
def test_arbitrary_bytes(data: bytes) -> None:
    assert check(data) is None


@settings(max_examples=150)
@given(values)
def test_arbitrary_json(value: Any) -> None:
    check(encode(value))


def mutated(content: Any, data: st.DataObject) -> Any:
    """Return the content with one value replaced, removed, or added."""
    content = copy.deepcopy(content)
    node = content
    while True:
        steps = list(node) if isinstance(node, dict) else range(len(node))
        step = data.draw(st.sampled_from(steps))
        inner = node[step]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.integers(0, 4)) == 0:
            break
        node = inner
    action = data.draw(st.sampled_from(["replace", "replace", "remove", "add"]))
    if action == "replace":
        node[step] = data.draw(values)
    elif action == "remove":
        del node[step]
    elif isinstance(node, dict):
        node[data.draw(keys)] = data.draw(values)
    else:
        node.append(data.draw(values | st.just(inner)))
    return content


@settings(max_examples=400)
@given(st.data())
def test_a_mutated_file(data: st.DataObject) -> None:
    check(encode(mutated(mutated(RICH, data), data)))


def test_mutated_real_files(golden: Path) -> None:
    files = sorted(golden.glob("*/datasource-properties.json"))
    assert files
    contents = [json.loads(file.read_bytes()) for file in files]

    @settings(max_examples=200)
    @given(st.sampled_from(contents), st.data())
    def run(content: Any, data: st.DataObject) -> None:
        check(encode(mutated(content, data)))

    run()


@given(st.integers(0, len(encode(RICH)) - 1))
def test_a_truncated_file(length: int) -> None:
    assert check(encode(RICH)[:length]) is None


@pytest.mark.parametrize("depth", [50, 99, 100, 500, sys.getrecursionlimit() - 60, 10**5])
def test_nesting(depth: int) -> None:
    nested = b"[" * depth + b"]" * depth
    assert (check(encode(RICH)[:-1] + b', "unknown": ' + nested + b"}") is not None) == (depth < 100)
