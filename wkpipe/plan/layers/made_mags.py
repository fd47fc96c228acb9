"""MadeMags: the mags that each layer of a dataset has after a run, as far as it is planned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from wkpipe.geometry import Mag
from wkpipe.metadata.layer_properties import LayerProperties


class MadeMags:
    """The mags of all layers, and how many layers have each: the mags of the others are found without a look at every layer.

    >>> made = MadeMags(())
    >>> made.set("em", [Mag(1), Mag(2)])
    >>> made.set("labels", [Mag(1)])
    >>> made.of("labels"), made.of_others("labels"), made.of_others("em")
    ((Mag('1'),), [Mag('1'), Mag('2')], [Mag('1')])
    """

    def __init__(self, layers: Iterable[LayerProperties]) -> None:
        self._mags: dict[str, tuple[Mag, ...]] = {}
        self._counts: Counter[Mag] = Counter()
        for layer in layers:
            self.set(layer.name, [entry.mag for entry in layer.mags])

    def set(self, layer: str, mags: Sequence[Mag]) -> None:
        """Set the mags of a layer."""
        self._counts.subtract(self._mags.get(layer, ()))
        self._mags[layer] = tuple(mags)
        self._counts.update(mags)

    def of(self, layer: str) -> tuple[Mag, ...]:
        """Return the mags of a layer."""
        return self._mags[layer]

    def of_others(self, layer: str) -> list[Mag]:
        """Return the mags that any other layer has, each once."""
        own = Counter(self._mags[layer])
        return [mag for mag, count in self._counts.items() if count > own[mag]]
