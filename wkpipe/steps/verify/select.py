"""What of a dataset is verified: a layer, a mag, a sample of the storage shards, one machine's part of them."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from wkpipe.errors import MagNotFound, UsageError
from wkpipe.formats.base import Position
from wkpipe.geometry import Mag
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.stored.dataset import StoredDataset

DEEP_SHARE = 0.05
"""The share of coarser mags that is computed again where no sample was asked for."""


@dataclass(frozen=True)
class Selection:
    """What is to be verified; by default all.

    `share` is that of the storage shards in every mag, at least one of each; which ones follows from `seed` alone. `part`
    is (number, of how many): all parts together cover everything exactly once. `deep` asks for computing coarser mags
    again, on `share` or `DEEP_SHARE` of their shards. `only` names units (layer, mag, position) and leaves the others out.
    """

    layer_name: str | None = None
    mag: Mag | None = None
    share: float | None = None
    seed: int = 0
    part: tuple[int, int] = (1, 1)
    deep: bool = False
    only: Collection[tuple[str, Mag, Position]] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every unit of the chosen layers and mags is looked at."""
        return self.share is None and self.part == (1, 1) and self.only is None

    @property
    def is_first_part(self) -> bool:
        return self.part[0] == 1

    def mags(self, dataset: StoredDataset) -> list[tuple[LayerProperties, MagProperties]]:
        """Return the mags to look at, in the order of the properties, each layer's from fine to coarse.

        Raises:
            LayerNotFound, MagNotFound: there is no such layer or mag.
        """
        layers = dataset.properties.layers if self.layer_name is None else (dataset.layer(self.layer_name),)
        if self.mag is not None and self.layer_name is not None:
            layers[0].mag(self.mag)  # says which mags there are
        chosen = [
            (layer, entry)
            for layer in layers
            for entry in sorted(layer.mags, key=lambda entry: entry.mag.to_tuple())
            if self.mag is None or entry.mag == self.mag
        ]
        if self.mag is not None and not chosen:
            there = ", ".join(dict.fromkeys(str(entry.mag) for layer in layers for entry in layer.mags)) or "none"
            raise MagNotFound(f"no layer of {dataset.locations.dataset} has a mag {self.mag}; there are {there}")
        return chosen

    def units(self, layer: str, mag: Mag, units: Sequence[Position]) -> list[Position]:
        """Return the units of a mag to look at, of all machines together."""
        if self.only is not None:
            units = [unit for unit in units if (layer, mag, unit) in self.only]
        return list(units) if self.share is None else self._sample(layer, mag, units, self.share)

    def deep_units(self, layer: str, mag: Mag, units: Sequence[Position]) -> set[Position]:
        """Return those of the chosen units of a mag that are computed again."""
        if not self.deep:
            return set()
        return set(units) if self.share is not None or self.only is not None else set(self._sample(layer, mag, units, DEEP_SHARE))

    def _sample(self, layer: str, mag: Mag, units: Sequence[Position], share: float) -> list[Position]:
        def score(unit: Position) -> bytes:
            return hashlib.blake2b(f"{self.seed} {layer} {mag} {unit}".encode(), digest_size=8).digest()

        chosen = set(sorted(units, key=score)[: math.ceil(share * len(units))])
        return [unit for unit in units if unit in chosen]

    def of_this_part(self, count: int) -> range:
        """Return which of `count` things, in their order, are this part's."""
        number, parts = self.part
        return range(count * (number - 1) // parts, count * number // parts)


def parse_share(text: str) -> float:
    """Return a share given as ``5%`` or ``0.05``.

    Raises:
        UsageError: it is no share.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(%?)", text.strip())
    share = float(match[1]) / (100 if match[2] else 1) if match else 0.0
    if not 0 < share <= 1:
        raise UsageError(f"--sample {text}: expected a share like 5% or 0.05")
    return share


def parse_part(text: str) -> tuple[int, int]:
    """Return a part given as ``3/10``.

    Raises:
        UsageError: it is no part.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
    number, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= parts:
        raise UsageError(f"--part {text}: expected the number of the part and of all parts, like 3/10")
    return number, parts
