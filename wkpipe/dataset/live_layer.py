"""LiveLayer: one layer of a dataset as it is on disk now; the modules below the façade classes take it."""

from __future__ import annotations

import weakref
from pathlib import Path

from wkpipe.dataset.live_properties import LiveProperties
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.runs.rename import end_renaming, rename_layer
from wkpipe.storage.place import Place
from wkpipe.stored.renaming import Renaming


class LiveLayer:
    """A layer of a dataset, by its name. A layer and all views of it share one, so the name is stored once.

    If this process renames the layer, all that it has of the layer get the new name, whatever handle did it.
    """

    def __init__(self, live: LiveProperties, name: str) -> None:
        self.live = live
        self.name = name
        _KNOWN[id(self)] = self

    def __reduce__(self) -> tuple[type[LiveLayer], tuple[LiveProperties, str]]:
        return LiveLayer, (self.live, self.name)

    @property
    def properties(self) -> LayerProperties:
        """The layer's entry in the properties.

        Raises:
            LayerNotFound: the layer was deleted.
        """
        return self.live.layer(self.name)

    @property
    def directory(self) -> Path:
        """The directory of the layer's mags."""
        return self.place.path()

    @property
    def place(self) -> Place:
        """The place of the layer's mags."""
        return self.live.fixed.data.child(self.name)

    def take_name(self, name: str) -> None:
        """Give the layer another name; raises as `rename_layer`."""
        self.live.check_writable()
        end_stopped_renaming(self.live)
        self.live.check_free()
        if name != self.name:
            rename_layer(self.live.fixed, self.name, name)
            _follow(self.live, Renaming(self.name, name, ""))


_KNOWN: weakref.WeakValueDictionary[int, LiveLayer] = weakref.WeakValueDictionary()
"""All layers that this process knows."""


def end_stopped_renaming(live: LiveProperties) -> None:
    """End the renaming of a layer that was stopped, in this process or another one; raises as `end_renaming`."""
    if (done := end_renaming(live.fixed)) is not None:
        _follow(live, done)


def _follow(live: LiveProperties, done: Renaming) -> None:
    for known in _KNOWN.valuerefs():  # a list: other threads may add layers
        layer = known()
        if layer is not None and layer.name == done.old and layer.live.fixed.dataset == live.fixed.dataset:
            layer.name = done.new
