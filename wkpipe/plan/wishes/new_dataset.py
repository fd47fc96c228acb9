"""NewDataset: a wanted dataset, made from images or from a server's dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wkpipe.images import AccountLine, ImageStack
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.server.download.remote import ServedDataset


@dataclass(frozen=True)
class NewLayer:
    """A wanted layer: its properties without mags, the plans of its mags from fine to coarse, and its source."""

    layer: LayerProperties
    plans: Sequence[MagPlan]
    source: ImageStack | ServedDataset


@dataclass(frozen=True)
class NewDataset:
    """A wanted dataset: its layers, name, properties without layers (JSON), notes for the user, and the accounts of its source."""

    layers: Sequence[NewLayer]
    name: str
    properties: Mapping[str, Any]
    notes: Sequence[str]
    accounts: Sequence[AccountLine] = ()
