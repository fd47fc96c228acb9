"""Rebuild damaged metadata from other records: array metadata, recipes, group files, properties, ledgers.

Nothing is guessed: array metadata follows from the recipe, group files follow from the properties. A recipe is accepted
only if its hash is the one in the records of the storage shards that were made with it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from wkpipe.errors import IntegrityError, MetadataError, WkpipeError
from wkpipe.formats.base import ArraySpec, Compression
from wkpipe.formats.zstd_parameters import LEVEL_OF_SETS, SETS
from wkpipe.geometry import Mag
from wkpipe.geometry.box import Box
from wkpipe.metadata.json_node import MAX_BYTES, JsonNode
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.ome import refresh_group_files
from wkpipe.metadata.properties import PROPERTIES_FILE_NAME, DatasetProperties
from wkpipe.metadata.store import COPY
from wkpipe.plan.mag_plan import MagPlan, Origin
from wkpipe.plan.origins.from_coarser import FromCoarser
from wkpipe.plan.origins.from_images import FromImages
from wkpipe.plan.origins.from_mag import FromMag
from wkpipe.plan.origins.from_server import FromServer
from wkpipe.plan.state.recipe import load_conversion, load_recipe
from wkpipe.runs.permission import check_writable_state
from wkpipe.sampling import InterpolationMode
from wkpipe.storage.lease import EPOCH_NAME, Epoch, read_epoch
from wkpipe.storage.ledger import Ledger, fold
from wkpipe.storage.removal import remove_older
from wkpipe.storage.stored_object import StoredObject
from wkpipe.stored.dataset import StoredDataset, array_corner, box_in_mag
from wkpipe.stored.identity import recorded_identity
from wkpipe.stored.lease import DatasetLease
from wkpipe.stored.locations import Locations
from wkpipe.verify.ledger import is_written
from wkpipe.verify.mag import recipes_of
from wkpipe.verify.metadata import array_files
from wkpipe.verify.report import Kind, Problem, VerifyReport

METADATA_KINDS = frozenset({Kind.PROPERTIES, Kind.ARRAY, Kind.GROUP, Kind.RECIPE, Kind.CONVERSION, Kind.LEDGER, Kind.EPOCH, Kind.LEFTOVER})
_MOST_CHANNELS = 8

Say = Callable[[str], None]


def rebuild(locations: Locations, report: VerifyReport, break_lock: bool, say: Say) -> None:
    """Rebuild the metadata that a report calls repairable, under the lease of a run; `say` gets what was done and what was not.

    Raises:
        TryAgain: another run works on the dataset.
    """
    problems = [problem for problem in report.problems if problem.is_repairable and problem.kind in METADATA_KINDS]
    check_writable_state(locations)
    newest = _newest_epoch(locations)
    if newest > read_epoch(locations.locks):
        # Before the lease, which gives the next number: records with a lower number would count as older.
        locations.locks.put(EPOCH_NAME, str(newest).encode())
    with DatasetLease(locations, break_lock) as lease:
        work = _Rebuild(locations, lease.epoch, say)
        if any(problem.kind is Kind.PROPERTIES for problem in problems):
            work.restore(StoredObject(locations.store, COPY), StoredObject(locations.data, PROPERTIES_FILE_NAME), _check_properties)
        dataset = StoredDataset.open(locations.dataset, None)
        work.dataset = StoredDataset(locations, dataset.properties)
        work.locations = work.dataset.locations
        order = (Kind.CONVERSION, Kind.RECIPE, Kind.ARRAY, Kind.LEDGER)
        for problem in sorted((problem for problem in problems if problem.kind in order), key=lambda problem: order.index(problem.kind)):
            work.rebuild(problem)
        if any(problem.kind is Kind.GROUP for problem in problems):
            for key in refresh_group_files(locations.data.writing(work.data_scratch), dataset.properties):
                say(f"{locations.dataset / key} was written again from the properties")
        if any(problem.kind is Kind.LEFTOVER for problem in problems):
            for scratch in (work.scratch, work.data_scratch):
                remove_older(scratch, is_all=True)
        for scratch in (work.scratch, work.data_scratch):
            scratch.remove()


def _newest_epoch(locations: Locations) -> int:
    place = locations.ledgers
    ledgers = [place.child(layer).child(mag) for layer in place.names() for mag in place.names(layer)]
    return max((record.epoch for ledger in ledgers for record in Ledger.load(ledger).records.values()), default=0)


def _check_properties(content: bytes) -> None:
    DatasetProperties.from_bytes(content)


def _check_json(content: bytes) -> None:
    JsonNode.parse(content, "conversion.json")


class _Rebuild:
    """Rebuild one file after the other."""

    def __init__(self, locations: Locations, epoch: Epoch, say: Say) -> None:
        self.locations = locations
        self.scratch, self.data_scratch = locations.scratch(epoch), locations.data_scratch(epoch)
        self.dataset: StoredDataset | None = None
        self._epoch = epoch
        self._say = say

    def rebuild(self, problem: Problem) -> None:
        """Rebuild the file of a problem; a file that cannot be rebuilt stays as it is."""
        assert self.dataset is not None
        if problem.kind is Kind.CONVERSION:
            self.restore(self.locations.conversion_copy, self.locations.conversion, _check_json)
            return
        layer = self.dataset.layer(problem.layer)
        mag = Mag(problem.mag)
        try:
            if problem.kind is Kind.RECIPE:
                self._rebuild_recipe(layer, mag)
            elif problem.kind is Kind.ARRAY:
                self._rebuild_array(layer, mag)
            else:
                fold(self.locations.records(layer.name, mag, self.scratch), self._epoch.number)
                self._say(f"layer {layer.name}, mag {mag}: the ledger's damaged lines were left out")
        except WkpipeError as error:
            self._say(f"layer {layer.name}, mag {mag}: not rebuilt: {error}")

    def restore(self, copy: StoredObject, file: StoredObject, check: Callable[[bytes], object]) -> None:
        """Put a copy in the place of a file if the copy is sound."""
        try:
            content = copy.content(MAX_BYTES) or b""
            check(content)
        except (IntegrityError, ValueError) as error:
            self._say(f"{file} is not restored: the copy {copy} cannot be used ({error})")
            return
        file.put(content, self.data_scratch if file.place == self.locations.data else self.scratch)
        self._say(f"{file} was restored to what wkpipe wrote last")

    def _rebuild_array(self, layer: LayerProperties, mag: Mag) -> None:
        recipe = load_recipe(self.locations, layer.name, mag)
        if recipe is None:
            raise MetadataError(f"nothing is recorded of how mag {mag} was made")
        identity = recorded_identity(self.locations, layer.name, mag)
        for name, content in array_files(recipe.spec, None if identity is None else identity.attributes).items():
            file = self.locations.array_file(layer.name, mag, name)
            file.put(content, self.data_scratch)
            self._say(f"{file} was written again from the recipe")

    def _rebuild_recipe(self, layer: LayerProperties, mag: Mag) -> None:
        ledger = Ledger.load(self.locations.ledger(layer.name, mag))
        if is_written(self.locations, layer.name, mag, ledger):
            raise MetadataError(f"mag {mag} was written to by hand, so it has no recipe")
        params = {record.params for record in ledger.records.values() if record.params}
        for plan in self._candidates(layer, mag):
            if plan.params in params:
                file = self.locations.recipe(layer.name, mag)
                file.put(json.dumps(plan.to_json()).encode(), self.scratch)
                self._say(f"{file} was written again; its hash is the recorded one")
                return
        raise MetadataError(
            f"no recipe has the hash that the records of mag {mag} have", fix="make the mag again with --overwrite-existing"
        )

    def _candidates(self, layer: LayerProperties, mag: Mag) -> Iterator[MagPlan]:
        """Yield every recipe with which the mag may have been made, under any name of the layer that is known."""
        assert self.dataset is not None
        own = box_in_mag(layer.bounding_box(), mag)
        names = dict.fromkeys([None, *(recipe.made_as for recipe in recipes_of(self.dataset, layer).values())])
        for spec in (each for found in self._specs(layer, mag) for each in _encoded_in_every_way(found)):
            for origin in self._origins(layer, mag, dict(zip(layer.axes, spec.shape, strict=True)).get("t", 1)):
                yield from (MagPlan(layer.name, mag, spec, Box.of(own), origin, made_as) for made_as in names)

    def _origins(self, layer: LayerProperties, mag: Mag, times: int) -> Iterator[Origin[Any]]:
        """Yield every origin from which a mag may have been made."""
        x, y, z = layer.box.size
        for entry in layer.mags:
            box = Box.of(box_in_mag(layer.bounding_box(), entry.mag))
            for first, mode in itertools.product(sorted({0, entry.channel_index}), InterpolationMode):
                candidates = (FromMag(entry.mag, box, mode, channel=first), FromCoarser(entry.mag, channel=first))
                yield from (origin for origin in candidates if origin.fits(mag))
        for first in range(_MOST_CHANNELS):
            channels = tuple(range(first, first + layer.num_channels))
            yield FromImages((times, len(channels), z, y, x), channels)
        server, _, dataset = str((load_conversion(self.locations) or {}).get("source", "")).rpartition("/datasets/")
        yield FromServer(server, dataset)

    def _specs(self, layer: LayerProperties, mag: Mag) -> Iterator[ArraySpec]:
        """Yield the possible layouts of the mag's array: its own; if that is broken too, the layouts of the layer's other mags."""
        assert self.dataset is not None
        corner = array_corner(box_in_mag(layer.bounding_box(), mag), layer.axes)
        for entry in sorted(layer.mags, key=lambda entry: entry.mag != mag):
            try:
                spec = self.dataset.open_mag(layer, entry).spec
            except WkpipeError:
                continue
            # New arrays have whole shards; WKW has no shape on disk, so it was opened with the shape from the properties.
            shape = spec.shape if entry.mag == mag else [spec.shape[i] if axis == "c" else corner[i] for i, axis in enumerate(spec.axes)]
            yield replace(spec, shape=tuple(-(-n // shard) * shard for n, shard in zip(shape, spec.shard_shape, strict=True)))
            if entry.mag == mag:
                return


def _encoded_in_every_way(spec: ArraySpec) -> Iterator[ArraySpec]:
    """Yield the layouts that only differ in what an array does not store."""
    yield spec
    if spec.compression == Compression("zstd", LEVEL_OF_SETS):
        yield from (replace(spec, compression=replace(spec.compression, named=name)) for name in SETS)
