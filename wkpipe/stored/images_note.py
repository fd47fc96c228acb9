"""Where a dataset's state says which images the mag of a layer was converted from that was added to the dataset.

A conversion of the whole dataset is in `Locations.conversion` instead.
"""

from __future__ import annotations

from wkpipe.geometry import Mag
from wkpipe.storage.stored_object import StoredObject
from wkpipe.stored.locations import Locations


def images_note(locations: Locations, layer: str, mag: Mag) -> StoredObject:
    """Return the object that names the images of a mag; it is beside the mag's records, and goes with them."""
    return locations.beside_ledger(layer, mag, "images.json")
