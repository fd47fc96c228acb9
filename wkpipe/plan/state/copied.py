"""The mag that another mag is copied from: its array, and the content of its units, by its own ledger or by its files."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from wkpipe.errors import MissingShard
from wkpipe.formats.base import ArraySpec, Position, StoredArray, unit_name
from wkpipe.formats.converted import ConvertedArray
from wkpipe.geometry.box import Box
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.plan.mag_plan import check_count, units_at
from wkpipe.plan.origins.array_content import ArrayContent
from wkpipe.plan.origins.from_array import FromArray
from wkpipe.plan.state.pending import found_state
from wkpipe.storage.ledger import Ledger
from wkpipe.storage.proof import unread
from wkpipe.storage.record import content_token
from wkpipe.stored.axes import spatial
from wkpipe.stored.channels import Channels
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.identity import is_replaced, recorded_identity


@dataclass(frozen=True)
class CopiedMag:
    """A mag that is copied, with its dataset, its entries in the properties, and its array."""

    stored: StoredDataset
    layer: LayerProperties
    entry: MagProperties
    array: StoredArray

    @classmethod
    def open(cls, stored: StoredDataset, layer: LayerProperties, entry: MagProperties) -> Self:
        """Open the array of a mag.

        Raises:
            RemoteMag: the mag is on a server.
            MetadataError: its metadata are missing or broken.
        """
        return cls(stored, layer, entry, stored.open_mag(layer, entry))

    @classmethod
    def of(cls, origin: FromArray) -> Self:
        """Open the mag that an origin names.

        Raises:
            LayerNotFound, MagNotFound: it was deleted.
            UnreadableInput, MetadataError: the dataset is gone, or its metadata are broken.
        """
        stored = StoredDataset.open(Path(origin.dataset))
        layer = stored.layer(origin.layer)
        return cls.open(stored, layer, layer.mag(origin.mag))

    @property
    def where(self) -> str:
        """The mag in messages."""
        return f"{self.stored.locations.dataset}, layer {self.layer.name}, mag {self.entry.mag}"

    def ledger(self, only: Iterable[Position] | None = None) -> Ledger:
        """Return the records of the array, maybe only of some units; there are none if another tool has replaced it."""
        at, name, mag = self.stored.locations, self.layer.name, self.entry.mag
        found = Ledger.load(at.ledger(name, mag), only=only)
        return Ledger({}) if is_replaced(recorded_identity(at, name, mag), self.array, found) else found

    def content(self, units: Sequence[Position], ledger: Ledger, made: Container[Position] | None = ()) -> ArrayContent:
        """Return the tokens of units: those of their records if the files are the recorded ones, else by the files themselves.

        `made` are the units that wkpipe has made: these must have a record. None stands for all, if any has one.

        Raises:
            MissingShard: the files of a recorded unit are gone.
            DamagedShard: a unit was found damaged and is not repaired.
        """
        state = found_state(self.array, ledger, units, self.where, missing_is_error=False, made=made)
        tokens = {**state.tokens, **{unit: self._token_of_files(unit) for unit in state.doubtful}}
        stored = self.array.stored if isinstance(self.array, ConvertedArray) else self.array
        return ArrayContent(self.array.spec, tokens, stored.spec.dtype.itemsize, stored.survives_fork)

    def _token_of_files(self, unit: Position) -> str:
        facts = self.array.unit_facts(unit)
        if facts is None:
            raise MissingShard("removed just now", where=f"{self.where}: storage shard {unit_name(unit)}", fix="call again")
        return content_token(unread(facts))


def units_of(spec: ArraySpec, box: Box, channels: Channels) -> list[Position]:
    """Return the units of an array that have voxels in a box (x, y, z) and in some channels."""
    shape = spatial(spec, spec.unit_shape)
    first, end = box.first // shape, box.end.ceildiv(shape)
    check_count("the mag to copy", end - first)
    cells = [(x, y, z) for x in range(first.x, end.x) for y in range(first.y, end.y) for z in range(first.z, end.z)]
    return units_at(spec, cells, channels)
