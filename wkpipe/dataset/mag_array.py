"""MagArray: the array of one mag and its ledger, opened when needed and reopened after changes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from wkpipe.dataset.live_layer import LiveLayer
from wkpipe.errors import DamagedShard, MetadataError, MissingShard, UnreadableInput
from wkpipe.formats.base import DataFormat, Position, StoredArray, Voxels, unit_name
from wkpipe.formats.chunked import cells_between
from wkpipe.geometry import Mag
from wkpipe.geometry.box import Box
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.mag_properties import MagProperties
from wkpipe.plan.state.recipe import load_recipe
from wkpipe.storage.ledger import SEGMENT_SUFFIX, Ledger
from wkpipe.storage.record import DIRTY, Record
from wkpipe.stored.axes import spatial
from wkpipe.stored.channels import Channels
from wkpipe.stored.dataset import box_in_mag, wkw_shape
from wkpipe.stored.identity import current_ledger, is_replaced, recorded_identity

_METADATA_FILES: Final = {DataFormat.WKW: "header.wkw", DataFormat.ZARR: ".zarray", DataFormat.ZARR3: "zarr.json"}


class MagArray:
    """The array of one mag of one layer; every answer comes from the present files."""

    def __init__(self, layer: LiveLayer, mag: Mag) -> None:
        self.layer = layer
        self.live = layer.live
        self.mag = mag
        self._opened: tuple[object, StoredArray] | None = None
        self._ledger: tuple[object, Ledger] | None = None
        self._made: tuple[object, Box | None] | None = None
        self._complete: set[object] = set()

    def __reduce__(self) -> tuple[type[MagArray], tuple[LiveLayer, Mag]]:
        """Pickle which mag it is, not what is open."""
        return MagArray, (self.layer, self.mag)

    def entry(self) -> tuple[LayerProperties, MagProperties]:
        """Return the present entries of layer and mag.

        Raises:
            LayerNotFound, MagNotFound: they were deleted.
        """
        layer = self.layer.properties
        return layer, layer.mag(self.mag)

    def path(self) -> Path:
        """Return the directory of the array.

        Raises:
            InputRefused: the array is on a server.
        """
        return self.live.stored().mag_place(*self.entry()).path()

    def is_owned(self) -> bool:
        """True if the array is in its layer's directory; links and references are read-only."""
        return self.live.stored().owns(*self.entry())

    def open(self) -> StoredArray:
        """Return the array, reopened if its metadata or the layer's entry changed.

        Raises:
            MetadataError: its metadata are missing or broken.
        """
        layer, entry = self.entry()
        stored = self.live.stored()
        place = stored.mag_place(layer, entry)
        name = _METADATA_FILES.get(layer.data_format)
        facts = None
        with contextlib.suppress(UnreadableInput, DamagedShard):
            facts = place.facts(name) if name else None
        key = (place, layer.axes, layer.dtype, wkw_shape(layer, entry), facts)
        if self._opened is None or self._opened[0] != key or facts is None:
            self._opened = (key, stored.open_mag(layer, entry))
        return self._opened[1]

    # -- reading ------------------------------------------------------------------------------------------------

    def read(self, start: Position, shape: Position) -> Voxels:
        """Return a region in array order, in voxels of the mag; voxels that were never written are zero.

        Raises:
            MissingShard: a recorded storage shard is gone.
            UnreadableInput: a storage shard has no file, and the ledger, which says whether it is empty or lost, cannot be read.
            DamagedShard: a chunk cannot be decoded.
        """
        array = self.open()
        self.check_present(array, start, [a + n for a, n in zip(start, shape, strict=True)])
        return array.read(start, shape)

    def check_kept(self, array: StoredArray, unit: Position, covers: Callable[[Position, Position], bool]) -> None:
        """Refuse to replace a part of a unit whose files are lost: the rest of it would become zeros. Raises as `read`.

        Args:
            covers: says if the voxels from a first position to an end are all replaced.
        """
        spec, (layer, entry) = array.spec, self.entry()
        box, channels = box_in_mag(layer.bounding_box(), self.mag), Channels.of(layer, entry)
        bounds = [(channels.first, channels.end) if axis == "c" else box.bounds(axis) if axis in box.axes else (0, 1) for axis in spec.axes]
        start = tuple(max(p * n, a) for p, n, (a, _) in zip(unit, spec.unit_shape, bounds, strict=True))
        end = tuple(min((p + 1) * n, b) for p, n, (_, b) in zip(unit, spec.unit_shape, bounds, strict=True))
        if not covers(start, end):
            try:
                self.check_present(array, start, end)
            except MissingShard as error:
                raise error.but(fix="restore them, or write all of this storage shard at once") from None

    def check_present(self, array: StoredArray, start: Sequence[int], end: Sequence[int]) -> None:
        """Refuse a region whose files are lost: absent files would read as zeros. Raises as `read`."""
        spec = array.spec
        units = cells_between(start, [min(a, b) for a, b in zip(end, spec.shape, strict=True)], spec.unit_shape)
        suspects = [unit for unit in units if not (spec.is_sharded and array.unit_files(unit))]
        if not suspects:
            return
        # A unit that a writer has recorded by now has its files: those of suspects are looked for again before one is refused.
        ledger = self.ledger(array)
        for unit in suspects:
            record = ledger.get(unit)
            if record is None:
                self._check_unrecorded(array, unit, ledger)
            elif record.origin != DIRTY and not record.proof.is_fill:
                self._check_recorded(array, unit, record)

    def _check_recorded(self, array: StoredArray, unit: Position, record: Record) -> None:
        """Refuse a unit that lost files; counting many small ones lists directories, so that is done once per state of the ledger."""
        known = (unit, record.age)
        if not array.spec.is_sharded and known in self._complete:
            return
        files = len(array.unit_files(unit))
        if files < record.proof.files:
            lost = record.proof.files - files
            raise self._missing(unit, f"has lost {lost} of {record.proof.files} file(s) that the ledger recorded")
        self._complete.add(known)

    def _check_unrecorded(self, array: StoredArray, unit: Position, ledger: Ledger) -> None:
        """Refuse a unit without a record and without a file that a run of wkpipe has made."""
        made = self._made_box(array, ledger)
        spec, (layer, entry) = array.spec, self.entry()
        if made is None or not Channels.of(layer, entry).has(spec, unit):
            return
        shape = spatial(spec, spec.unit_shape)
        first = spatial(spec, unit) * shape
        here = made.intersected_with(Box(first, first + shape)).intersected_with(Box.of(box_in_mag(layer.bounding_box(), self.mag)))
        if here.size.is_positive(strictly_positive=True) and not array.unit_files(unit):
            raise self._missing(unit, "and its record are gone")

    def _missing(self, unit: Position, what: str) -> MissingShard:
        fix = "restore them, or write this region again"
        return MissingShard(f"storage shard {unit_name(unit)} {what}", where=f"layer {self.layer.name}, mag {self.mag}", fix=fix)

    def _made_box(self, array: StoredArray, ledger: Ledger) -> Box | None:
        """Return the box that a run of wkpipe has made, in voxels of the mag; None if none has, or if the mag was changed by hand."""
        if self._made is None or self._made[0] is not ledger:
            at, name, recipe = self.live.locations, self.layer.name, None
            with contextlib.suppress(MetadataError):
                recipe = load_recipe(at, name, self.mag)
            if recipe is not None and not ledger:  # it is empty, or another tool has replaced the array
                stored = Ledger.load(at.ledger(name, self.mag))
                recipe = None if is_replaced(recorded_identity(at, name, self.mag), array, stored) else recipe
            self._made = (ledger, None if recipe is None else recipe.box)
        return self._made[1]

    def ledger(self, array: StoredArray) -> Ledger:
        """Return the ledger of an array; it is read again only when a segment was added or grew.

        It is empty if another tool has made the mag again: the records then belong to an earlier array.

        Raises:
            UnreadableInput: the ledger belongs to a user who lets nobody else read it.
        """
        ledger = self.live.locations.ledger(self.layer.name, self.mag)
        segments = tuple((name, ledger.facts(name)) for name in sorted(ledger.names()) if name.endswith(SEGMENT_SUFFIX))
        key = (id(array), segments)
        if self._ledger is None or self._ledger[0] != key:
            self._ledger = (key, current_ledger(self.live.locations, self.layer.name, self.mag, array))
        return self._ledger[1]
