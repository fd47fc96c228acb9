"""Generations: the directories of mags that were rebuilt in a place that cannot rename.

There, a rebuilt mag cannot take the directory of the old one. So it gets a new one, ``2.1`` or ``2.2`` for mag 2, which the properties
name. Its ledger has the same name. The number is one more than the highest that the layer's published mags have: it
depends only on the properties, so a run that was killed resumes in the same directory.
"""

from __future__ import annotations

import re
from typing import Final

from wkpipe.geometry import Mag
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.metadata.properties import DatasetProperties

Generations = dict[tuple[str, Mag], int]
"""The generations of mags by layer and mag; mags that are not named have 0."""

_NAME: Final = re.compile(r"([1-9]\d*(?:-[1-9]\d*-[1-9]\d*)?)\.([1-9]\d{0,8})")


def directory_name(mag: Mag, generation: int) -> str:
    """Return the name of a mag's directory, and of its ledger.

    >>> directory_name(Mag("2-2-1"), 0), directory_name(Mag(2), 3)
    ('2-2-1', '2.3')
    """
    return f"{mag}.{generation}" if generation else str(mag)


def mag_of(name: str) -> tuple[Mag, int] | None:
    """Return mag and generation of a directory's name; None if it is not the name of a mag that was rebuilt in a new directory.

    >>> mag_of("2-2-1.3"), mag_of("2"), mag_of("2-2-2.1")
    ((Mag('2-2-1'), 3), None, None)
    """
    match = _NAME.fullmatch(name)
    try:
        mag = None if match is None else Mag(match[1])
    except ValueError:
        return None
    return None if match is None or mag is None or str(mag) != match[1] else (mag, int(match[2]))


def generation_of(layer: str, entry: MagProperties) -> int:
    """Return the generation of a mag in the properties."""
    prefix = f"./{layer}/"
    if entry.path is None or not entry.path.startswith(prefix):
        return 0
    name = entry.path.removeprefix(prefix)
    found = mag_of(name) if "." in name else None
    return 0 if found is None or found[0] != entry.mag else found[1]


def published_generations(properties: DatasetProperties) -> Generations:
    """Return the generations of the mags in the properties that are not 0."""
    found = {(layer.name, entry.mag): generation_of(layer.name, entry) for layer in properties.layers for entry in layer.mags}
    return {key: number for key, number in found.items() if number}
