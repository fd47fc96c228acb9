"""DatasetProperties: the content of datasource-properties.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from wkpipe.errors import AlreadyExists, LayerNotFound, UnknownVersion, UnreadableInput, UsageError
from wkpipe.metadata.json_node import JsonNode, merged
from wkpipe.metadata.layer_json import layer_from_json, layer_to_json
from wkpipe.metadata.layer_names import alike
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.length_unit import unit_list
from wkpipe.metadata.units import VoxelSize
from wkpipe.metadata.view_configuration import DatasetViewConfiguration
from wkpipe.storage.stored_object import StoredObject

PROPERTIES_FILE_NAME: Final = "datasource-properties.json"
VERSION: Final = 1
_KEYS: Final = ("id", "scale", "dataLayers", "version", "defaultViewConfiguration")


@dataclass(frozen=True)
class DatasetProperties:
    """A dataset as its datasource-properties.json describes it. Instances are immutable; use `dataclasses.replace`.

    extra: unknown keys, kept as they are; below ``id`` and ``scale`` the unknown keys of these objects.

    Examples
    --------
    >>> from wkpipe import DatasetProperties, VoxelSize
    >>> DatasetProperties("brain", VoxelSize((4, 4, 40))).layers
    ()
    """

    name: str
    voxel_size: VoxelSize
    layers: tuple[LayerProperties, ...] = ()
    team: str = ""
    default_view_configuration: DatasetViewConfiguration | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))

    # -- file form ----------------------------------------------------------------------------------------------

    @classmethod
    def from_bytes(cls, data: bytes, file: Path | str = PROPERTIES_FILE_NAME) -> DatasetProperties:
        """Read the content of a file; errors name `file`.

        Raises
        ------
        MetadataError
            it is broken; names the file, the key path, what was found and what was expected.
        """
        return cls.from_json(JsonNode.parse(data, file))

    @classmethod
    def from_json(cls, node: JsonNode) -> DatasetProperties:
        """Read the top-level object.

        Raises
        ------
        MetadataError
            it is broken.
        """
        version = node.get("version")
        if version is not None and version.integer(0) != VERSION:
            raise UnknownVersion.of(version.error(f"version {VERSION}, the only one that is supported"))
        identity, view = node.child("id"), node.get("defaultViewConfiguration")
        team = identity.get("team")
        layers: dict[str, LayerProperties] = {}
        for item in node.child("dataLayers").items():
            layer = layer_from_json(item)
            if layer.name in layers:
                raise item.child("name").error("a name that no other layer has")
            layers[layer.name] = layer
        return cls(
            name=identity.child("name").text(),
            voxel_size=_voxel_size(node.child("scale")),
            layers=tuple(layers.values()),
            team="" if team is None else team.text(),
            default_view_configuration=None if view is None else DatasetViewConfiguration.from_json(view),
            extra=node.unknown(_KEYS, {"id": ("name", "team"), "scale": ("factor", "unit")}),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the top-level object in the present form."""
        known: dict[str, Any] = {
            "id": {"name": self.name, "team": self.team},
            "scale": {"factor": list(self.voxel_size.factor), "unit": self.voxel_size.unit},
            "dataLayers": [layer_to_json(layer) for layer in self.layers],
            "version": VERSION,
        }
        if self.default_view_configuration is not None:
            known["defaultViewConfiguration"] = self.default_view_configuration.to_json()
        return merged(known, self.extra)

    def to_bytes(self) -> bytes:
        """Return the content of the file to write."""
        return json.dumps(self.to_json(), indent=4).encode()

    # -- layers -------------------------------------------------------------------------------------------------

    def layer(self, name: str) -> LayerProperties:
        """Return the entry of a layer.

        Raises
        ------
        LayerNotFound
            the dataset has no such layer.
        """
        for layer in self.layers:
            if layer.name == name:
                return layer
        there = ", ".join(layer.name for layer in self.layers) or "none"
        raise LayerNotFound(f"The layer {name} is not a layer of this dataset (it has {there})")

    def has_layer(self, name: str) -> bool:
        """True if the dataset has a layer of that name."""
        return any(layer.name == name for layer in self.layers)

    def with_layer(self, layer: LayerProperties) -> DatasetProperties:
        """Return the dataset with a layer added at the end, or in place of the layer of the same name."""
        if self.has_layer(layer.name):
            return replace(self, layers=tuple(layer if old.name == layer.name else old for old in self.layers))
        return replace(self, layers=(*self.layers, layer))

    def with_new_layer(self, layer: LayerProperties) -> DatasetProperties:
        """Return the dataset with a layer added at the end.

        Raises
        ------
        AlreadyExists
            there is a layer of that name, or of a name that some file systems take for the same.
        """
        if self.has_layer(layer.name):
            raise AlreadyExists(f"the dataset {self.name} already has a layer {layer.name}", fix="choose another name or delete it first")
        if (other := alike(layer.name, (known.name for known in self.layers))) is not None:
            what = f"the dataset {self.name} has a layer {other}, and some file systems take {layer.name} for the same name"
            raise AlreadyExists(what, fix="choose another name")
        return self.with_layer(layer)

    def without_layer(self, name: str) -> DatasetProperties:
        """Return the dataset without a layer.

        Raises
        ------
        LayerNotFound
            the dataset has no such layer.
        """
        gone = self.layer(name)
        return replace(self, layers=tuple(layer for layer in self.layers if layer is not gone))


def _voxel_size(node: JsonNode) -> VoxelSize:
    """Read ``{"factor": [x, y, z], "unit": unit}``, or the old ``[x, y, z]`` in nanometers."""
    if isinstance(node.value, list):
        factor, unit = node, "nanometer"
    else:
        factor, unit_node = node.child("factor"), node.child("unit")
        unit = unit_node.text(f"a unit of length: {unit_list()}")
        try:
            VoxelSize((1.0, 1.0, 1.0), unit)
        except UsageError:
            raise unit_node.error(f"a unit of length: {unit_list()}") from None
    x, y, z = factor.numbers(3)
    try:
        return VoxelSize((x, y, z), unit)
    except UsageError:
        raise factor.error("three positive numbers") from None


def read_properties(file: StoredObject) -> DatasetProperties:
    """Read a datasource-properties.json.

    Raises:
        UnreadableInput: the file does not exist, or cannot be read.
        MetadataError: it is broken.
    """
    node = JsonNode.read(file)
    if node is None:
        raise UnreadableInput("file not found", where=file.path, fix=f"a dataset is a directory with a {PROPERTIES_FILE_NAME}")
    return DatasetProperties.from_json(node)
