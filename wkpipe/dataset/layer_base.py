"""LayerBase: what all parts of the class Layer share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from wkpipe.dataset.live_layer import LiveLayer
from wkpipe.metadata.layer_properties import LayerProperties

if TYPE_CHECKING:
    from wkpipe.dataset.dataset import Dataset


class LayerBase:
    """A layer's dataset and its entry in the properties."""

    def __init__(self, dataset: Dataset, entry: LiveLayer) -> None:
        self._dataset = dataset
        self._entry = entry

    @property
    def _properties(self) -> LayerProperties:
        return self._entry.properties

    def _replace(self, **values: Any) -> None:
        self._entry.live.update_layer(self._entry.name, lambda layer: replace(layer, **values))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._entry.name!r}, {self._dataset.path})"
