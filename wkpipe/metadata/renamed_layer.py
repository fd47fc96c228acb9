"""The properties of a dataset after one of its layers got another name: all that names the layer follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.view_configuration import DatasetViewConfiguration


def with_renamed_layer(properties: DatasetProperties, old: str, new: str, path_of: Callable[[str], str]) -> DatasetProperties:
    """Return the properties with another name of a layer; `path_of` returns the new path of what is not remote, of any layer.

    Raises:
        LayerNotFound: there is no layer `old`.
        AlreadyExists: another layer has the name `new`, or one that some file systems take for the same.
    """
    layer = properties.layer(old)
    properties.without_layer(old).with_new_layer(replace(layer, name=new))  # refuses the name of another layer
    layers = [_with_paths(replace(each, name=new) if each is layer else each, path_of) for each in properties.layers]
    view = properties.default_view_configuration
    return replace(properties, layers=tuple(layers), default_view_configuration=None if view is None else _renamed_in(view, old, new))


def _with_paths(layer: LayerProperties, path_of: Callable[[str], str]) -> LayerProperties:
    def moved(path: str) -> str:
        return path if "://" in path else path_of(path)

    mags = tuple(entry if entry.path is None else replace(entry, path=moved(entry.path)) for entry in layer.mags)
    return replace(layer, mags=mags, attachments=layer.attachments.with_paths(moved))


def _renamed_in(view: DatasetViewConfiguration, old: str, new: str) -> DatasetViewConfiguration:
    def named(name: str) -> str:
        return new if name == old else name

    layers, order, native = view.layers, view.color_layer_order, view.natively_rendered_layer_name
    return replace(
        view,
        layers=None if layers is None else {named(name): layer for name, layer in layers.items()},
        color_layer_order=None if order is None else tuple(map(named, order)),
        natively_rendered_layer_name=None if native is None else named(native),
    )
