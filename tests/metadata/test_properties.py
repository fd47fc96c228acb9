"""datasource-properties.json: the variants that are read, the exact form that is written, and refused files."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.material import material
from wkpipe.errors import AlreadyExists, InputRefused, LayerNotFound, MagNotFound, MetadataError, UnreadableInput
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import BoundingBox, Mag, NDBoundingBox
from wkpipe.metadata.axis_order import AdditionalAxis, AxisOrder
from wkpipe.metadata.element_class import LayerCategory
from wkpipe.metadata.layer_names import check_layer_name, check_new_layer_name
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import DatasetProperties, read_properties
from wkpipe.metadata.units import VoxelSize
from wkpipe.metadata.view_configuration import DatasetViewConfiguration, LayerViewConfiguration
from wkpipe.storage.local import object_at

EXAMPLE = {
    "id": {"name": "z3", "team": ""},
    "scale": {"factor": [11.24, 11.24, 28.0], "unit": "nanometer"},
    "dataLayers": [
        {
            "name": "color",
            "category": "color",
            "boundingBox": {"topLeft": [13, 7, 5], "width": 27, "height": 22, "depth": 13},
            "dataFormat": "zarr3",
            "mags": [
                {"mag": [1, 1, 1], "path": "./color/1", "axisOrder": {"c": 0, "x": 1, "y": 2, "z": 3}},
                {"mag": [2, 2, 1], "path": "./color/2-2-1", "axisOrder": {"c": 0, "x": 1, "y": 2, "z": 3}},
            ],
            "numChannels": 1,
            "elementClass": "uint8",
        }
    ],
    "version": 1,
}

SEGMENTATION = {
    "name": "segmentation",
    "category": "segmentation",
    "boundingBox": {"topLeft": [0, 0, 0], "width": 8, "height": 8, "depth": 8},
    "dataFormat": "wkw",
    "mags": [{"mag": [1, 1, 1], "path": "./segmentation/1", "cubeLength": 1024, "axisOrder": {"c": 0, "x": 1, "y": 2, "z": 3}}],
    "defaultViewConfiguration": {"alpha": 20, "isInverted": False, "mapping": {"name": "m", "type": "HDF5", "new": 1}},
    "coordinateTransformations": [{"type": "affine", "matrix": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]}],
    "largestSegmentId": {"customJsonEncoding": "bigint", "value": "18446744073709551615"},
    "mappings": ["a", "b"],
    "attachments": {
        "meshes": [{"name": "m", "path": "./segmentation/meshes/m", "dataFormat": "hdf5"}],
        "segmentIndex": {"name": "i", "path": "./segmentation/segmentIndex/i", "dataFormat": "hdf5"},
    },
    "numChannels": 1,
    "elementClass": "uint64",
}


def with_layer(**changes: Any) -> dict[str, Any]:
    """Return the example with some values of its layer changed; None removes a key."""
    content = copy.deepcopy(EXAMPLE)
    layer: dict[str, Any] = content["dataLayers"][0]  # type: ignore[index]
    layer.update(changes)
    for key in [key for key, value in layer.items() if value is None]:
        del layer[key]
    return content


def load(content: Any) -> DatasetProperties:
    return DatasetProperties.from_bytes(json.dumps(content).encode(), "the file")


def layer_of(content: Any) -> LayerProperties:
    return load(content).layers[0]


def rewritten(content: Any) -> Any:
    return json.loads(load(content).to_bytes())


class TestFilesOfOthers:
    @pytest.mark.parametrize("place, least", [("golden", 10), ("data", 7)])
    def test_every_one_loads_and_survives_a_round_trip(self, place: str, least: int) -> None:
        files = sorted(material(place).glob("*/datasource-properties.json"))
        assert len(files) >= least
        for file in files:
            properties = read_properties(object_at(file))
            assert properties.layers, file
            assert DatasetProperties.from_bytes(properties.to_bytes()) == properties, file
            for layer in properties.layers:
                box = layer.bounding_box()
                assert box.size_of("c", layer.num_channels) == layer.num_channels
                assert set(box.axes) >= {"x", "y", "z"}

    def test_files_in_the_present_form_are_written_byte_for_byte(self, golden: Path) -> None:
        files = sorted(golden.glob("*/datasource-properties.json"))
        assert len(files) >= 10
        for file in files:
            assert read_properties(object_at(file)).to_bytes() == file.read_bytes(), file

    def test_old_files(self) -> None:
        old = read_properties(object_at(material("data/old_wkw_dataset") / "datasource-properties.json"))
        assert old.voxel_size == VoxelSize((11.239999771118164, 11.239999771118164, 28))
        assert [(str(mag.mag), mag.cube_length, mag.path) for mag in old.layer("color").mags] == [("1", 1024, None), ("2", 512, None)]
        assert (old.layer("color").num_channels, old.layer("color").axes) == (1, ("c", "x", "y", "z"))
        assert old.team == "Connectomics department"

    def test_a_file_with_much_in_it(self) -> None:
        properties = read_properties(object_at(material("data/complex_property_ds") / "datasource-properties.json"))
        segmentation = properties.layer("segmentation")
        assert [str(mag.mag) for mag in segmentation.mags] == ["1", "16", "2", "32", "4", "8"]
        assert segmentation.largest_segment_id == 1000000000
        assert segmentation.mappings[0] == "larger5um1"
        transformations = properties.layer("color").coordinate_transformations, segmentation.coordinate_transformations
        assert [t and t[0]["type"] for t in transformations] == ["affine", "thin_plate_spline"]

    def test_additional_axes(self, golden: Path) -> None:
        properties = read_properties(object_at(golden / "z3_nd" / "datasource-properties.json"))
        assert properties.layer("txyz").axes == ("t", "x", "y", "z")
        assert properties.layer("txyz").bounding_box() == NDBoundingBox((0, 3, 2, 1), (3, 15, 11, 7), ("t", "x", "y", "z"))
        assert properties.layer("tcxyz").bounding_box() == NDBoundingBox((0, 0, 3, 2, 1), (2, 3, 15, 11, 7), ("t", "c", "x", "y", "z"))


class TestWritten:
    def test_a_new_file_has_exactly_the_form_of_the_example(self) -> None:
        box = NDBoundingBox((13, 7, 5), (27, 22, 13), ("x", "y", "z"))
        layer = LayerProperties.for_box("color", "color", "zarr3", np.dtype("uint8"), box)
        for mag in ("1", "2-2-1"):
            layer = layer.with_mag(MagProperties(Mag(mag), f"./color/{mag}"))
        properties = DatasetProperties("z3", VoxelSize((11.24, 11.24, 28))).with_new_layer(layer)
        assert properties.to_bytes() == json.dumps(EXAMPLE, indent=4).encode()

    def test_key_order_of_a_full_layer(self) -> None:
        content = {**EXAMPLE, "dataLayers": [SEGMENTATION | {"zzz": 1, "aaa": None}], "defaultViewConfiguration": {"zoom": 1}}
        shuffled = dict(sorted(content.items())) | {"dataLayers": [dict(sorted(content["dataLayers"][0].items()))]}  # type: ignore[index]
        expected = {**EXAMPLE, "dataLayers": [SEGMENTATION | {"aaa": None, "zzz": 1}], "defaultViewConfiguration": {"zoom": 1}}
        assert load(shuffled).to_bytes() == json.dumps(expected, indent=4).encode()

    def test_text_beyond_ascii_is_escaped(self) -> None:
        assert b'"name": "\\u00b5"' in DatasetProperties("µ", VoxelSize((1, 1, 1))).to_bytes()

    def test_a_layer_without_mags_keeps_the_layout_in_its_box(self) -> None:
        box = {"topLeft": [0, 0, 0], "width": 1, "height": 2, "depth": 3, "axisOrder": {"c": 1, "x": 2, "y": 3, "z": 4}, "channelIndex": 2}
        content = with_layer(mags=[], boundingBox=box, additionalAxes=[{"name": "t", "bounds": [0, 5], "index": 0}])
        layer = layer_of(content)
        assert layer.axes == ("t", "c", "x", "y", "z")
        assert rewritten(content)["dataLayers"][0]["boundingBox"] == box
        entry = layer.with_mag(MagProperties(Mag(1))).mags[0]
        assert (entry.axis_order, entry.channel_index) == (AxisOrder(2, 3, 4, 1), 2)
        assert load(json.loads(load(content).with_layer(layer.with_mag(entry).without_mag(1)).to_bytes())).layers[0] == layer

    def test_channel_index(self) -> None:
        mag = {"mag": [1, 1, 1], "path": "./color/1", "axisOrder": {"c": 0, "x": 1, "y": 2, "z": 3}, "channelIndex": 1}
        content = with_layer(mags=[mag])
        assert layer_of(content).mags[0].channel_index == 1
        assert rewritten(content) == content

    @pytest.mark.parametrize("value", [0, 5, 2**53 - 1])
    def test_segment_ids_that_json_keeps_are_numbers(self, value: int) -> None:
        layer = replace(layer_of({**EXAMPLE, "dataLayers": [SEGMENTATION]}), largest_segment_id=value)
        written = json.loads(DatasetProperties("x", VoxelSize((1, 1, 1)), (layer,)).to_bytes())
        assert written["dataLayers"][0]["largestSegmentId"] == value

    def test_greater_segment_ids_are_texts(self) -> None:
        layer = replace(layer_of({**EXAMPLE, "dataLayers": [SEGMENTATION]}), largest_segment_id=2**53)
        written = json.loads(DatasetProperties("x", VoxelSize((1, 1, 1)), (layer,)).to_bytes())
        assert written["dataLayers"][0]["largestSegmentId"] == {"customJsonEncoding": "bigint", "value": "9007199254740992"}

    def test_empty_parts_are_left_out(self) -> None:
        empty: dict[str, Any] = {
            "largestSegmentId": None,
            "mappings": [],
            "attachments": {"meshes": [], "cumsum": None},
            "additionalAxes": [],
        }
        written = rewritten({**EXAMPLE, "dataLayers": [SEGMENTATION | empty]})["dataLayers"][0]
        assert not set(empty) & set(written)


class TestOldVariants:
    def test_scale_as_a_list(self) -> None:
        assert load({**EXAMPLE, "scale": [1, 2, 3.5]}).voxel_size == VoxelSize((1, 2, 3.5), "nanometer")
        assert rewritten({**EXAMPLE, "scale": [1, 2, 3.5]})["scale"] == {"factor": [1.0, 2.0, 3.5], "unit": "nanometer"}

    def test_short_units(self) -> None:
        assert rewritten({**EXAMPLE, "scale": {"factor": [1, 1, 1], "unit": "µm"}})["scale"]["unit"] == "micrometer"

    def test_wkw_resolutions(self) -> None:
        resolutions = [{"resolution": 1, "cubeLength": 1024, "new": True}, {"resolution": [2, 2, 1], "cubeLength": 512}]
        content = with_layer(dataFormat="wkw", mags=None, wkwResolutions=resolutions)
        written = rewritten(content)["dataLayers"][0]
        order = {"c": 0, "x": 1, "y": 2, "z": 3}
        assert written["mags"] == [
            {"mag": [1, 1, 1], "cubeLength": 1024, "axisOrder": order, "new": True},
            {"mag": [2, 2, 1], "cubeLength": 512, "axisOrder": order},
        ]
        assert "wkwResolutions" not in written

    def test_missing_keys(self) -> None:
        content = with_layer(mags=[{"mag": [1, 1, 1]}], numChannels=None)
        del content["version"], content["id"]["team"]
        properties = load(content)
        assert (properties.team, properties.layers[0].num_channels, properties.layers[0].mags[0].path) == ("", 1, None)
        assert (rewritten(content)["version"], rewritten(content)["id"]) == (1, {"name": "z3", "team": ""})
        assert layer_of(with_layer(numChannels=None, elementClass="uint24")).num_channels == 3

    @pytest.mark.parametrize("form", [2, "2", "2-2-2", [2, 2, 2], [2.0, 2, 2]])
    def test_mags_in_any_form(self, form: Any) -> None:
        content = with_layer(mags=[{"mag": form}])
        assert layer_of(content).mags[0].mag == Mag(2)
        assert rewritten(content)["dataLayers"][0]["mags"][0]["mag"] == [2, 2, 2]

    def test_axis_order_without_c_on_arrays_with_channels(self) -> None:
        layer = layer_of(with_layer(mags=[{"mag": 1, "axisOrder": {"x": 1, "y": 2, "z": 3}}]))
        assert layer.axes == ("c", "x", "y", "z")
        assert layer.mags[0].axis_order == AxisOrder()

    def test_arrays_of_three_axes(self) -> None:
        layer = layer_of(with_layer(mags=[{"mag": 1, "axisOrder": {"x": 2, "y": 1, "z": 0}}]))
        assert layer.axes == ("z", "y", "x")
        assert layer.bounding_box() == NDBoundingBox((0, 13, 7, 5), (1, 27, 22, 13), ("c", "x", "y", "z"))

    @pytest.mark.parametrize(
        "index, element_class, channels, axes",
        [(0, "uint8", 1, "txyz"), (0, "uint24", 3, "tcxyz"), (3, "uint8", 1, "xyzt"), (1, "uint24", 3, "ctxyz")],
    )
    def test_additional_axes_without_axis_order(self, index: int, element_class: str, channels: int, axes: str) -> None:
        additional = [{"name": "t", "bounds": [0, 3], "index": index}]
        content = with_layer(mags=[{"mag": 1}], additionalAxes=additional, elementClass=element_class, numChannels=channels)
        assert layer_of(content).axes == tuple(axes)

    def test_view_configurations_in_snake_case_with_nulls(self) -> None:
        inner = {"color": [1, 2, 3], "intensity_range": [0, 9], "is_disabled": None, "min": None, "isInverted": True, "other_key": None}
        content = {**EXAMPLE, "defaultViewConfiguration": {"four_bit": True, "zoom": None, "layers": {"color": inner}}}
        properties = load(content)
        expected = LayerViewConfiguration((1, 2, 3), intensity_range=(0, 9), is_inverted=True, extra={"other_key": None})
        assert properties.default_view_configuration == DatasetViewConfiguration(four_bit=True, layers={"color": expected})
        assert rewritten(content)["defaultViewConfiguration"] == {
            "fourBit": True,
            "layers": {"color": {"color": [1, 2, 3], "intensityRange": [0, 9], "isInverted": True, "other_key": None}},
        }

    def test_byte_order_mark(self) -> None:
        assert DatasetProperties.from_bytes(b"\xef\xbb\xbf" + json.dumps(EXAMPLE).encode()) == load(EXAMPLE)

    def test_paths_are_kept_as_text(self) -> None:
        paths = ["../other/color/1", "file:///a/b", "s3://endpoint/bucket/key"]
        mags = [{"mag": 2**i, "path": path} for i, path in enumerate(paths)]
        assert [mag.path for mag in layer_of(with_layer(mags=mags)).mags] == paths


def objects(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all objects in a JSON value."""
    if isinstance(value, dict):
        yield path
        for key, inner in value.items():
            yield from objects(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from objects(inner, (*path, i))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for step in path:
        value = value[step]
    return value


FULL = {
    **EXAMPLE,
    "dataLayers": [
        EXAMPLE["dataLayers"][0],  # type: ignore[index]
        SEGMENTATION,
        {
            **with_layer(name="nd")["dataLayers"][0],
            "mags": [],
            "boundingBox": {"topLeft": [0, 0, 0], "width": 1, "height": 1, "depth": 1, "axisOrder": {"c": 1, "x": 2, "y": 3, "z": 4}},
            "additionalAxes": [{"name": "t", "bounds": [0, 1], "index": 0}],
        },
    ],
    "defaultViewConfiguration": {"position": [1, 2, 3], "layers": {"color": {"alpha": 50}}},
}


class TestUnknownKeys:
    def test_the_full_example_is_in_the_present_form(self) -> None:
        assert rewritten(FULL) == FULL

    @pytest.mark.parametrize("path", list(objects(FULL)), ids=str)
    def test_survive_at_every_level(self, path: tuple[Any, ...]) -> None:
        content = copy.deepcopy(FULL)
        at(content, path)["an unknown key"] = value = {"nested": [1, {"deeper": None}], "é": 1e-7}
        if path[-1:] == ("layers",):
            at(content, path)["an unknown key"] = value = {"alpha": 3}  # its keys are layer names
        assert rewritten(content) == content
        assert at(json.loads(load(rewritten(content)).to_bytes()), path)["an unknown key"] == value

    def test_survive_a_change_of_what_is_known(self) -> None:
        content = copy.deepcopy(FULL)
        content["dataLayers"][0]["boundingBox"]["unknown"] = 1  # type: ignore[index]
        content["dataLayers"][0]["adminViewConfiguration"] = {"a": 1}  # type: ignore[index]
        properties = load(content)
        changed = replace(properties.layer("color"), box=BoundingBox((0, 0, 0), (5, 5, 5)))
        written = json.loads(properties.with_layer(changed).to_bytes())["dataLayers"][0]
        assert written["boundingBox"] == {"topLeft": [0, 0, 0], "width": 5, "height": 5, "depth": 5, "unknown": 1}
        assert written["adminViewConfiguration"] == {"a": 1}

    def test_keys_of_segmentations_stay_in_a_color_layer(self) -> None:
        content = with_layer(largestSegmentId=5, mappings=[1], attachments="odd")
        assert rewritten(content) == content

    def test_keys_in_a_removed_segment_id_are_removed_with_it(self) -> None:
        content = copy.deepcopy(FULL)
        content["dataLayers"][1]["largestSegmentId"]["unknown"] = 1  # type: ignore[index]
        properties = load(content)
        removed = properties.with_layer(replace(properties.layer("segmentation"), largest_segment_id=None))
        assert "largestSegmentId" not in json.loads(removed.to_bytes())["dataLayers"][1]


BOX = {"topLeft": [0, 0, 0], "width": 1, "height": 1, "depth": 1}
ORDER = {"c": 0, "x": 1, "y": 2, "z": 3}
T_AXIS = {"name": "t", "bounds": [0, 1], "index": 0}
REFUSED: list[tuple[str, Any, str]] = [
    ("name", 5, "dataLayers[0].name: found 5, expected a text"),
    ("name", None, "dataLayers[0].name is missing, expected a text"),
    ("name", "", "dataLayers[0].name: found"),
    ("name", "a/b", 'dataLayers[0].name: found "a/b"'),
    ("name", "..", "dataLayers[0].name: found"),
    ("category", "image", 'dataLayers[0].category: found "image", expected one of color, segmentation'),
    ("dataFormat", "tiff", "dataLayers[0].dataFormat: found"),
    ("elementClass", "uint7", 'dataLayers[0].elementClass: found "uint7"'),
    ("elementClass", "uint24", "dataLayers[0].elementClass: found"),
    ("elementClass", None, "dataLayers[0].elementClass is missing"),
    ("numChannels", 0, "dataLayers[0].numChannels: found 0, expected an integer from 1"),
    ("numChannels", True, "dataLayers[0].numChannels: found true"),
    ("numChannels", 10**30, "dataLayers[0].numChannels: found"),
    ("boundingBox", [], "dataLayers[0].boundingBox: found [], expected an object"),
    ("boundingBox", BOX | {"width": -5}, "dataLayers[0].boundingBox.width: found -5, expected an integer from 0 to"),
    ("boundingBox", BOX | {"width": 1e300}, "dataLayers[0].boundingBox.width: found 1e+300"),
    ("boundingBox", BOX | {"width": "8"}, 'dataLayers[0].boundingBox.width: found "8"'),
    ("boundingBox", {"topLeft": [0, 0, 0], "height": 1, "depth": 1}, "dataLayers[0].boundingBox.width is missing"),
    ("boundingBox", BOX | {"topLeft": [0, 0]}, "dataLayers[0].boundingBox.topLeft: found [0, 0], expected a list of 3"),
    ("boundingBox", BOX | {"topLeft": [0, -1, 0]}, "dataLayers[0].boundingBox.topLeft[1]: found -1"),
    ("mags", None, "dataLayers[0].mags is missing"),
    ("mags", {}, "dataLayers[0].mags: found an empty object"),
    ("mags", [{}], "dataLayers[0].mags[0].mag is missing"),
    ("mags", [{"mag": 3}], "dataLayers[0].mags[0].mag: found 3, expected a mag"),
    ("mags", [{"mag": "2,2,1"}], "dataLayers[0].mags[0].mag: found"),
    ("mags", [{"mag": 2**40}], "dataLayers[0].mags[0].mag: found"),
    ("mags", [{"mag": str(2**40)}], "dataLayers[0].mags[0].mag: found"),
    ("mags", [{"mag": 1}, {"mag": [1, 1, 1]}], "dataLayers[0].mags[1].mag: found [1, 1, 1], expected every mag once"),
    ("mags", [{"mag": 1, "path": 5}], "dataLayers[0].mags[0].path: found 5"),
    ("mags", [{"mag": 1, "cubeLength": 0}], "dataLayers[0].mags[0].cubeLength: found 0"),
    ("mags", [{"mag": 1, "axisOrder": {"x": 1, "y": 2}}], "dataLayers[0].mags[0].axisOrder.z is missing"),
    ("mags", [{"mag": 1, "axisOrder": {"c": 0, "x": 1, "y": 1, "z": 2}}], "dataLayers[0].mags[0].axisOrder: found"),
    ("mags", [{"mag": 1, "axisOrder": {"c": 0, "x": 2, "y": 3, "z": 4}}], "dataLayers[0].additionalAxes: found axes at the indices"),
    ("mags", [{"mag": 1, "axisOrder": ORDER}, {"mag": 2, "axisOrder": ORDER | {"x": 2, "y": 1}}], "dataLayers[0].mags[1].axisOrder: found"),
    ("additionalAxes", [T_AXIS], "dataLayers[0].additionalAxes: found axes c and t at the same index 0"),
    ("additionalAxes", [T_AXIS | {"name": "x"}], "dataLayers[0].additionalAxes[0].name: found"),
    ("additionalAxes", [T_AXIS, T_AXIS], "dataLayers[0].additionalAxes[1].name: found"),
    ("additionalAxes", [T_AXIS | {"bounds": [2, 1]}], "dataLayers[0].additionalAxes[0].bounds: found [2, 1]"),
    ("coordinateTransformations", [{"type": "affine", "matrix": [[1]]}], "dataLayers[0].coordinateTransformations[0].matrix: found"),
    ("defaultViewConfiguration", {"color": "red"}, 'dataLayers[0].defaultViewConfiguration.color: found "red", expected a list'),
    ("defaultViewConfiguration", {"min": float("nan")}, "dataLayers[0].defaultViewConfiguration.min: found NaN, expected a finite number"),
]


class TestRefused:
    @pytest.mark.parametrize("key, value, message", REFUSED, ids=[f"{key}={value}"[:50] for key, value, _ in REFUSED])
    def test_what_is_wrong_in_a_layer(self, key: str, value: Any, message: str) -> None:
        with pytest.raises(MetadataError) as refused:
            load(with_layer(**{key: value}))
        assert str(refused.value).startswith(f"the file: {message}")
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize(
        "changes, message",
        [
            ({"version": 2}, "version: found 2, expected version 1"),
            ({"version": "1"}, 'version: found "1"'),
            ({"id": {}}, "id.name is missing"),
            ({"id": None}, "id: found null, expected an object"),
            ({"scale": 5}, "scale: found 5"),
            ({"scale": [1, 1]}, "scale: found [1, 1], expected a list of 3"),
            ({"scale": [0, 1, 1]}, "scale: found [0, 1, 1], expected three positive numbers"),
            ({"scale": [1e400, 1, 1]}, "scale[0]: found Infinity, expected a finite number"),
            ({"scale": [10**400, 1, 1]}, "scale[0]: found 1000000"),
            ({"scale": {"factor": [1, 1, 1], "unit": "pixel"}}, 'scale.unit: found "pixel", expected a unit of length: yoctometer (ym)'),
            ({"scale": {"factor": [1e300, 1, 1], "unit": "Ym"}}, "scale.factor: found"),
            ({"scale": {"factor": [1, 1, 1]}}, "scale.unit is missing"),
            ({"dataLayers": {}}, "dataLayers: found an empty object, expected a list"),
            ({"dataLayers": EXAMPLE["dataLayers"] * 2}, 'dataLayers[1].name: found "color", expected a name that no other'),  # type: ignore[operator]
            ({"defaultViewConfiguration": {"layers": {"a b": 5}}}, 'defaultViewConfiguration.layers["a b"]: found 5, expected an object'),
        ],
        ids=str,
    )
    def test_what_is_wrong_in_the_dataset(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(MetadataError) as refused:
            load({**EXAMPLE, **changes})
        assert str(refused.value).startswith(f"the file: {message}")

    @pytest.mark.parametrize(
        "value",
        [
            *({"customJsonEncoding": "bigint"}, {"customJsonEncoding": "x", "value": "1"}),
            *({"customJsonEncoding": "bigint", "value": value} for value in ("1e5", "", "9" * 20, 5)),
            *(2**64, 1.5, "5", [], True),
        ],
        ids=str,
    )
    def test_segment_ids(self, value: Any) -> None:
        with pytest.raises(MetadataError, match=r"largestSegmentId"):
            load({**EXAMPLE, "dataLayers": [SEGMENTATION | {"largestSegmentId": value}]})

    @pytest.mark.parametrize(
        "data",
        [b"", b"{", b"\xff\xfe", b"[1,]", b"nul", b"[" * 100_000, b'{"a": ' * 200 + b"1" + b"}" * 200, b"9" * 5000, b"{}", b"[]", b"5"],
        ids=lambda data: data[:20],
    )
    def test_what_is_no_json_object(self, data: bytes) -> None:
        with pytest.raises(MetadataError) as refused:
            DatasetProperties.from_bytes(data, "some file")
        assert str(refused.value).startswith("some file: ")
        assert "\n" not in str(refused.value)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(UnreadableInput, match="not found"):
            read_properties(object_at(tmp_path / "datasource-properties.json"))
        with pytest.raises(UnreadableInput, match=r"cannot be read"):
            read_properties(object_at(tmp_path))


class TestLayers:
    def test_names_of_new_layers(self) -> None:
        for name in ("color", "a", "A_$@-9", "a.b.c", "-", "1"):
            check_new_layer_name(name)
            check_layer_name(name)
        for name in ("", ".a", "a b", "a/b", "é", "a\n", "..", "a\0"):
            with pytest.raises(InputRefused, match="layer name"):
                check_new_layer_name(name)
        check_layer_name("an old name")

    def test_boxes_of_new_layers(self) -> None:
        def layer(box: NDBoundingBox, channels: int = 1) -> LayerProperties:
            return LayerProperties.for_box("a", "color", "zarr3", np.dtype("uint8"), box, channels)

        plain = layer(NDBoundingBox((1, 2, 3), (4, 5, 6), ("x", "y", "z")), channels=3)
        assert (plain.axes, plain.num_channels, plain.element_class) == (("c", "x", "y", "z"), 3, "uint24")
        assert plain.bounding_box() == NDBoundingBox((0, 1, 2, 3), (3, 4, 5, 6), ("c", "x", "y", "z"))
        assert layer(plain.bounding_box()) == plain
        timed = layer(NDBoundingBox((0, 1, 2, 3), (9, 4, 5, 6), ("t", "x", "y", "z")))
        assert (timed.axes, timed.additional_axes) == (("t", "x", "y", "z"), (AdditionalAxis("t", (0, 9), 0),))
        assert timed.bounding_box() == NDBoundingBox((0, 1, 2, 3), (9, 4, 5, 6), ("t", "x", "y", "z"))

    def test_changing_the_box(self) -> None:
        layer = LayerProperties.for_box("a", "color", "zarr3", np.dtype("u1"), NDBoundingBox((0,) * 4, (2, 8, 8, 8), tuple("txyz")))
        layer = layer.with_mag(MagProperties(Mag(1)))
        grown = layer.with_bounding_box(NDBoundingBox((0,) * 4, (3, 9, 9, 9), tuple("txyz")))
        assert (grown.box.size.to_tuple(), grown.additional_axes[0].bounds) == ((9, 9, 9), (0, 3))
        assert layer.with_bounding_box(BoundingBox((0, 0, 0), (9, 9, 9))).additional_axes[0].bounds == (0, 2)
        for axes, size in [("qxyz", (3, 9, 9, 9)), ("cxyz", (3, 9, 9, 9))]:
            with pytest.raises(InputRefused, match="found a box with"):
                layer.with_bounding_box(NDBoundingBox((0,) * 4, size, tuple(axes)))
        with pytest.raises(InputRefused, match="below 0"):
            layer.with_bounding_box(BoundingBox((-1, 0, 0), (9, 9, 9)))

    def test_mags(self) -> None:
        layer = load(EXAMPLE).layer("color")
        assert layer.mag("2-2-1").path == "./color/2-2-1"
        with pytest.raises(MagNotFound, match=r"The mag 4 is not a mag of this layer \(color has 1, 2-2-1\)"):
            layer.mag(4)
        assert [str(entry.mag) for entry in layer.without_mag(1).mags] == ["2-2-1"]
        assert layer.with_mag(MagProperties(Mag(1), "new")).mags[0].path == "new"
        with pytest.raises(MetadataError, match=r"mags\[2\].axisOrder"):
            layer.with_mag(MagProperties(Mag(4), axis_order=AxisOrder(0, 1, 2, None)))

    def test_layers(self) -> None:
        properties = load(EXAMPLE)
        with pytest.raises(LayerNotFound, match="The layer x is not a layer of this dataset"):
            properties.layer("x")
        with pytest.raises(AlreadyExists, match="color"):
            properties.with_new_layer(properties.layer("color"))
        assert properties.without_layer("color").layers == ()
        with pytest.raises(IndexError):
            properties.without_layer("x")

    def test_channels_need_an_axis(self) -> None:
        with pytest.raises(MetadataError, match="no axis c"):
            LayerProperties(
                "a", LayerCategory.COLOR, BoundingBox.empty(), DataFormat.ZARR3, np.dtype("u1"), 3, axis_order=AxisOrder(0, 1, 2, None)
            )
