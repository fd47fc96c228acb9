"""View configurations: how WEBKNOSSOS shows a layer or a dataset when it is opened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from wkpipe.metadata.json_node import JsonNode, merged

Configuration = TypeVar("Configuration", bound="LayerViewConfiguration | DatasetViewConfiguration")


def _key(json_key: str, read: Callable[[JsonNode], Any]) -> Any:
    """Declare an optional setting: its key in the file and the function that reads its value."""
    return field(default=None, metadata={"key": json_key, "read": read})


def _mapping(node: JsonNode) -> dict[str, Any]:
    return {key: inner.value for key, inner in node.members().items()}


def _texts(node: JsonNode) -> tuple[str, ...]:
    return tuple(item.text() for item in node.items())


def _pair(node: JsonNode) -> tuple[int | float, ...]:
    return node.numbers(2)


def _triple(node: JsonNode) -> tuple[int | float, ...]:
    return node.numbers(3)


def _layers(node: JsonNode) -> dict[str, LayerViewConfiguration]:
    return {name: LayerViewConfiguration.from_json(inner) for name, inner in node.members().items()}


@dataclass(frozen=True)
class LayerViewConfiguration:
    """How a layer is shown; None = the viewer's default.

    color: red, green, blue 0–255. alpha: opacity 0–100. intensity_range, min, max: values of voxels. mapping: an
    object with name and type. extra: keys that wkpipe does not know, kept as they are.

    Examples
    --------
    >>> from wkpipe import Dataset, LayerViewConfiguration
    >>> layer = Dataset("brain", voxel_size=(4, 4, 40)).add_layer("em", "color")
    >>> layer.default_view_configuration = LayerViewConfiguration(color=(255, 0, 0), intensity_range=(10, 200))
    >>> layer.default_view_configuration.color
    (255, 0, 0)
    >>> LayerViewConfiguration(alpha=50, intensity_range=(10, 200)).to_json()
    {'alpha': 50, 'intensityRange': [10, 200]}
    """

    color: tuple[int | float, ...] | None = _key("color", _triple)
    alpha: int | float | None = _key("alpha", JsonNode.number)
    intensity_range: tuple[int | float, ...] | None = _key("intensityRange", _pair)
    min: int | float | None = _key("min", JsonNode.number)
    max: int | float | None = _key("max", JsonNode.number)
    is_disabled: bool | None = _key("isDisabled", JsonNode.boolean)
    is_inverted: bool | None = _key("isInverted", JsonNode.boolean)
    is_in_edit_mode: bool | None = _key("isInEditMode", JsonNode.boolean)
    mapping: Mapping[str, Any] | None = _key("mapping", _mapping)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, node: JsonNode) -> LayerViewConfiguration:
        """Read the object; null means unset, and names in snake_case are read as camelCase.

        Raises
        ------
        MetadataError
            a value has the wrong type.
        """
        return _from_json(cls, node)

    def to_json(self) -> dict[str, Any]:
        """Return the object to write: in camelCase, without nulls for known keys."""
        return _to_json(self)


@dataclass(frozen=True)
class DatasetViewConfiguration:
    """How a dataset is shown; None = the viewer's default.

    position: x, y, z in mag-1 voxels. rotation: degrees around x, y, z. layers: by layer name. extra: keys that
    wkpipe does not know, kept as they are.

    Examples
    --------
    >>> from wkpipe import Dataset, DatasetViewConfiguration
    >>> dataset = Dataset("brain", voxel_size=(4, 4, 40))
    >>> dataset.default_view_configuration = DatasetViewConfiguration(zoom=0.5, position=(256, 256, 32))
    >>> dataset.default_view_configuration.position
    (256, 256, 32)
    """

    four_bit: bool | None = _key("fourBit", JsonNode.boolean)
    interpolation: bool | None = _key("interpolation", JsonNode.boolean)
    render_missing_data_black: bool | None = _key("renderMissingDataBlack", JsonNode.boolean)
    loading_strategy: str | None = _key("loadingStrategy", JsonNode.text)
    segmentation_pattern_opacity: int | float | None = _key("segmentationPatternOpacity", JsonNode.number)
    zoom: int | float | None = _key("zoom", JsonNode.number)
    position: tuple[int | float, ...] | None = _key("position", _triple)
    rotation: tuple[int | float, ...] | None = _key("rotation", _triple)
    layers: Mapping[str, LayerViewConfiguration] | None = _key("layers", _layers)
    color_layer_order: tuple[str, ...] | None = _key("colorLayerOrder", _texts)
    blend_mode: str | None = _key("blendMode", JsonNode.text)
    natively_rendered_layer_name: str | None = _key("nativelyRenderedLayerName", JsonNode.text)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, node: JsonNode) -> DatasetViewConfiguration:
        """Read the object; null means unset, and names in snake_case are read as camelCase.

        Raises
        ------
        MetadataError
            a value has the wrong type.
        """
        return _from_json(cls, node)

    def to_json(self) -> dict[str, Any]:
        """Return the object to write: in camelCase, without nulls for known keys."""
        return _to_json(self)


def _from_json(cls: type[Configuration], node: JsonNode) -> Configuration:
    node.members()
    known: set[str] = set()
    values: dict[str, Any] = {}
    for setting in fields(cls):
        if setting.name == "extra":
            continue
        # The reference package writes nested configurations in snake_case with explicit nulls.
        keys = (setting.metadata["key"], setting.name)
        known.update(keys)
        found = next((inner for inner in map(node.get, keys) if inner is not None), None)
        if found is not None:
            values[setting.name] = setting.metadata["read"](found)
    return cls(**values, extra=node.unknown(known))


def _to_json(configuration: LayerViewConfiguration | DatasetViewConfiguration) -> dict[str, Any]:
    known = {}
    for setting in fields(configuration):
        value = getattr(configuration, setting.name)
        if setting.name != "extra" and value is not None:
            known[setting.metadata["key"]] = _plain(value)
    return merged(known, configuration.extra)


def _plain(value: Any) -> Any:
    if isinstance(value, LayerViewConfiguration):
        return value.to_json()
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return value
