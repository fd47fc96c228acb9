"""The part of a dataset to verify: a layer, a mag, a sample of the storage shards, one host's part of them."""

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
from wkpipe.plan.origins.lineage import mags_sources_first
from wkpipe.stored.dataset import StoredDataset
from wkpipe.verify.mag import recipes_of

DEEP_SHARE = 0.05
"""The share of coarser mags that is computed again if no sample was asked for."""


@dataclass(frozen=True)
class Selection:
    """What to verify; by default everything.

    `share` is the share of the storage shards of every mag, at least one of each; `seed` alone decides which. `part` is
    (number, number of parts): all parts together cover everything exactly once. `deep` computes coarser mags again, on
    `share` or `DEEP_SHARE` of their shards. `only` names the units (layer, mag, position) to verify.
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
        """True if every unit of the chosen layers and mags is checked."""
        return self.share is None and self.part == (1, 1) and self.only is None

    @property
    def is_first_part(self) -> bool:
        return self.part[0] == 1

    def mags(self, dataset: StoredDataset) -> list[tuple[LayerProperties, MagProperties]]:
        """Return the mags to check, by layer in the order of the properties: from fine to coarse, but upsampled ones after their source.

        Raises:
            LayerNotFound, MagNotFound: there is no such layer or mag.
        """
        layers = dataset.properties.layers if self.layer_name is None else (dataset.layer(self.layer_name),)
        if self.mag is not None and self.layer_name is not None:
            layers[0].mag(self.mag)  # its error names the mags of the layer
        chosen = [
            (layer, layer.mag(mag))
            for layer in layers
            for mag in mags_sources_first([entry.mag for entry in layer.mags], recipes_of(dataset, layer))
            if self.mag is None or mag == self.mag
        ]
        if self.mag is not None and not chosen:
            there = ", ".join(dict.fromkeys(str(entry.mag) for layer in layers for entry in layer.mags)) or "none"
            raise MagNotFound(f"no layer of {dataset.locations.dataset} has a mag {self.mag}", expected=f"one of {there}")
        return chosen

    def units(self, layer: str, mag: Mag, units: Sequence[Position]) -> list[Position]:
        """Return the units of a mag to check, for all hosts together."""
        if self.only is not None:
            units = [unit for unit in units if (layer, mag, unit) in self.only]
        return list(units) if self.share is None else self._sample(layer, mag, units, self.share)

    def deep_units(self, layer: str, mag: Mag, units: Sequence[Position]) -> set[Position]:
        """Return the chosen units of a mag that are computed again."""
        if not self.deep:
            return set()
        return set(units) if self.share is not None or self.only is not None else set(self._sample(layer, mag, units, DEEP_SHARE))

    def _sample(self, layer: str, mag: Mag, units: Sequence[Position], share: float) -> list[Position]:
        def score(unit: Position) -> bytes:
            return hashlib.blake2b(f"{self.seed} {layer} {mag} {unit}".encode(), digest_size=8).digest()

        chosen = set(sorted(units, key=score)[: math.ceil(share * len(units))])
        return [unit for unit in units if unit in chosen]

    def of_this_part(self, count: int) -> range:
        """Return the numbers of the things, of `count`, that are in this part."""
        number, parts = self.part
        return range(count * (number - 1) // parts, count * number // parts)


def parse_share(text: str) -> float:
    """Return the share in a text ``5%`` or ``0.05``.

    Raises:
        UsageError: it is not a share.
    """
    match = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(%?)", text.strip())
    share = float(match[1]) / (100 if match[2] else 1) if match else 0.0
    if not 0 < share <= 1:
        raise UsageError(where=f"--sample {text}", expected="a share like 5% or 0.05")
    return share


def parse_part(text: str) -> tuple[int, int]:
    """Return the part in a text ``3/10``.

    Raises:
        UsageError: it is not a part.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
    number, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= parts:
        raise UsageError(where=f"--part {text}", expected="the number of the part and of all parts, like 3/10")
    return number, parts
