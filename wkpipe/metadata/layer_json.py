"""Read and write the entry of a layer; old forms of it are read too."""

from __future__ import annotations

import re
from typing import Any, Final

from wkpipe.errors import InputRefused, MetadataError
from wkpipe.formats.base import DataFormat
from wkpipe.geometry import BoundingBox
from wkpipe.metadata.attachments import AttachmentsProperties
from wkpipe.metadata.axis_order import AxisOrder, additional_axes_from_json
from wkpipe.metadata.element_class import LayerCategory, default_num_channels, dtype_per_channel
from wkpipe.metadata.json_node import MAX_COORDINATE, JsonNode, merged
from wkpipe.metadata.layer_names import check_layer_name
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.segment_ids import HIGHEST_ID, LOWEST_ID
from wkpipe.metadata.view_configuration import LayerViewConfiguration

_KEYS: Final = frozenset(
    (
        *("name", "category", "boundingBox", "dataFormat", "mags", "wkwResolutions", "defaultViewConfiguration"),
        *("coordinateTransformations", "additionalAxes", "numChannels", "elementClass"),
    )
)
_SEGMENTATION_KEYS: Final = frozenset(("largestSegmentId", "mappings", "attachments"))
_BOX_KEYS: Final = ("topLeft", "width", "height", "depth", "axisOrder", "channelIndex")
_BIGINT_KEYS: Final = ("customJsonEncoding", "value")
_MAX_CHANNELS: Final = 2**16
_DECIMAL = re.compile(r"-?[0-9]{1,20}")


def layer_from_json(node: JsonNode) -> LayerProperties:
    """Read an entry of ``dataLayers``.

    Raises:
        MetadataError: a key is missing, its value is invalid, or values contradict each other.
    """
    category = _enum(node.child("category"), LayerCategory)
    box = node.child("boundingBox")
    mags = _mags(node)
    order, channel_index = box.get("axisOrder"), box.get("channelIndex")
    name, num_channels, dtype = _name(node), node.get("numChannels"), node.child("elementClass")
    element_class = dtype.text("a name such as uint8, uint24 or float")
    channels = default_num_channels(element_class) if num_channels is None else num_channels.integer(1, _MAX_CHANNELS)
    view, mappings = node.get("defaultViewConfiguration"), node.get("mappings")
    is_segmentation = category is LayerCategory.SEGMENTATION
    known = _KEYS
    nested: dict[str, tuple[str, ...]] = {"boundingBox": _BOX_KEYS}
    if is_segmentation:
        known, nested = known | _SEGMENTATION_KEYS, nested | {"largestSegmentId": _BIGINT_KEYS}
    try:
        voxel_type = dtype_per_channel(element_class, channels)
    except InputRefused:
        raise dtype.error(f"an elementClass that divides into {channels} channel(s), such as uint8, uint24 or float") from None
    additional_axes = additional_axes_from_json(node.get("additionalAxes"))
    values: dict[str, Any] = {
        "name": name,
        "category": category,
        "box": _box(box),
        "data_format": _enum(node.child("dataFormat"), DataFormat),
        "dtype": voxel_type,
        "num_channels": channels,
        "mags": mags,
        "axis_order": None if order is None or mags else AxisOrder.from_json(order),
        "channel_index": 0 if channel_index is None or mags else channel_index.integer(0, _MAX_CHANNELS),
        "additional_axes": additional_axes,
        "default_view_configuration": None if view is None else LayerViewConfiguration.from_json(view),
        "coordinate_transformations": _transformations(node.get("coordinateTransformations")),
        "extra": node.unknown(known, nested),
    }
    if is_segmentation:
        values["largest_segment_id"] = _largest_segment_id(node.get("largestSegmentId"))
        values["mappings"] = () if mappings is None else tuple(item.text() for item in mappings.items())
        values["attachments"] = AttachmentsProperties.from_json(node.get("attachments"))
    try:
        return LayerProperties(**values)
    except MetadataError as error:
        raise error.but(where=f"{node.file}: {node.key_path}.{error.where}") from None


def layer_to_json(layer: LayerProperties) -> dict[str, Any]:
    """Return the entry of a layer in the present form."""
    topleft, size = layer.box.topleft, layer.box.size
    box: dict[str, Any] = {"topLeft": topleft.to_list(), "width": size.x, "height": size.y, "depth": size.z}
    if not layer.mags:
        # A layer without mags has no other place for the axis order of its future arrays.
        box["axisOrder"] = layer.order.to_json()
        if layer.channel_index:
            box["channelIndex"] = layer.channel_index
    known: dict[str, Any] = {
        "name": layer.name,
        "category": layer.category.value,
        "boundingBox": box,
        "dataFormat": layer.data_format.value,
        "mags": [mag.to_json() for mag in layer.mags],
    }
    if layer.default_view_configuration is not None:
        known["defaultViewConfiguration"] = layer.default_view_configuration.to_json()
    if layer.coordinate_transformations is not None:
        known["coordinateTransformations"] = [dict(transformation) for transformation in layer.coordinate_transformations]
    extra = dict(layer.extra)
    if layer.category is LayerCategory.SEGMENTATION:
        leftover = extra.pop("largestSegmentId", None)
        if layer.largest_segment_id is not None:
            known["largestSegmentId"] = _bigint(layer.largest_segment_id, leftover)
        if layer.mappings:
            known["mappings"] = list(layer.mappings)
        if attachments := layer.attachments.to_json():
            known["attachments"] = attachments
    if layer.additional_axes:
        known["additionalAxes"] = [axis.to_json() for axis in layer.additional_axes]
    known["numChannels"] = layer.num_channels
    known["elementClass"] = layer.element_class
    return merged(known, extra)


def _enum(node: JsonNode, kind: Any) -> Any:
    expected = f"one of {', '.join(kind)}"
    try:
        return kind(node.text(expected))
    except ValueError:
        raise node.error(expected) from None


def _name(node: JsonNode) -> str:
    name = node.child("name")
    try:
        check_layer_name(name.text())
    except MetadataError:
        raise
    except InputRefused:
        raise name.error('a name of 1 to 255 printable bytes that has no "/" and does not start with a dot') from None
    return name.text()


def _mags(node: JsonNode) -> tuple[MagProperties, ...]:
    mags, old = node.get("mags"), node.get("wkwResolutions")
    if (mags is None or mags.value == []) and old is not None:
        return _without_duplicates(old, [MagProperties.from_old_json(item) for item in old.items()], "resolution")
    if mags is None:
        raise node.child("mags").error("a list of mags")
    return _without_duplicates(mags, [MagProperties.from_json(item) for item in mags.items()], "mag")


def _without_duplicates(node: JsonNode, mags: list[MagProperties], key: str) -> tuple[MagProperties, ...]:
    seen = set()
    for item, mag in zip(node.items(), mags, strict=True):
        if mag.mag in seen:
            raise item.child(key).error("every mag once")
        seen.add(mag.mag)
    return tuple(mags)


def _box(node: JsonNode) -> BoundingBox:
    topleft = [item.integer(0) for item in node.child("topLeft").items(3)]
    return BoundingBox(topleft, [node.child(key).integer(0) for key in ("width", "height", "depth")])


def _transformations(node: JsonNode | None) -> tuple[dict[str, Any], ...] | None:
    if node is None:
        return None
    for item in node.items():
        if item.child("type").text() == "affine":
            for row in item.child("matrix").items(4):
                row.numbers(4)
    return tuple(item.value for item in node.items())


def _largest_segment_id(node: JsonNode | None) -> int | None:
    if node is None:
        return None
    if not isinstance(node.value, dict):
        return node.integer(LOWEST_ID, HIGHEST_ID)
    if node.child("customJsonEncoding").text() != "bigint":
        raise node.child("customJsonEncoding").error('"bigint"')
    value = node.child("value")
    if not _DECIMAL.fullmatch(value.text()) or not LOWEST_ID <= int(value.text()) <= HIGHEST_ID:
        raise value.error(f"a decimal integer from {LOWEST_ID} to {HIGHEST_ID}")
    return int(value.text())


def _bigint(value: int, leftover: Any) -> Any:
    # JavaScript would round larger numbers, so they are written as a string in an object.
    if abs(value) <= MAX_COORDINATE and not leftover:
        return value
    return merged({"customJsonEncoding": "bigint", "value": str(value)}, leftover if isinstance(leftover, dict) else {})
