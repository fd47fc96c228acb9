"""Rebuild damaged metadata from what is known elsewhere: array metadata, recipes, group files, properties, ledgers.

Nothing is guessed: array metadata follow from the recipe, group files from the properties; a recipe is accepted only if
its hash is the one in the records of the storage shards that were made by it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from wkpipe.errors import MetadataError, WkpipeError
from wkpipe.formats.base import ArraySpec
from wkpipe.geometry import Mag
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.metadata.ome import refresh_group_files
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.store import properties_copy
from wkpipe.plan.mag_plan import CONVERT, DOWNLOAD, DOWNSAMPLE, MagPlan
from wkpipe.plan.recipe import load_conversion, load_recipe
from wkpipe.sampling import InterpolationMode
from wkpipe.steps.permission import check_writable_state
from wkpipe.steps.verify.ledger import is_written
from wkpipe.steps.verify.metadata import array_files
from wkpipe.steps.verify.report import Kind, Problem, VerifyReport
from wkpipe.storage import disk
from wkpipe.storage.commit import Scratch, replace_file
from wkpipe.storage.lease import EPOCH_NAME, Epoch, read_epoch
from wkpipe.storage.ledger import Ledger, fold
from wkpipe.stored.dataset import StoredDataset, array_corner, box_in_mag
from wkpipe.stored.identity import recorded_identity
from wkpipe.stored.lease import DatasetLease
from wkpipe.stored.locations import Locations

METADATA_KINDS = frozenset({Kind.PROPERTIES, Kind.ARRAY, Kind.GROUP, Kind.RECIPE, Kind.CONVERSION, Kind.LEDGER, Kind.EPOCH, Kind.LEFTOVER})
_MOST_CHANNELS = 8

Say = Callable[[str], None]


def rebuild(locations: Locations, report: VerifyReport, break_lock: bool, say: Say) -> None:
    """Rebuild the metadata that a report says can be, under the run's lease; say what was done, and what could not be.

    Raises:
        TryAgain: another run works on the dataset.
    """
    problems = [problem for problem in report.problems if problem.is_repairable and problem.kind in METADATA_KINDS]
    check_writable_state(locations)
    newest = _newest_epoch(locations)
    if newest > read_epoch(locations.locks):
        # Before the lease, which gives the next number: records of a lower one would count as older.
        replace_file(locations.locks / EPOCH_NAME, str(newest).encode(), Scratch(locations.locks))
    with DatasetLease(locations, break_lock) as lease:
        work = _Rebuild(locations, lease.epoch, say)
        if any(problem.kind is Kind.PROPERTIES for problem in problems):
            work.restore(properties_copy(locations.state), locations.dataset / "datasource-properties.json", _check_properties)
        dataset = StoredDataset.open(locations.dataset, None)
        work.dataset = StoredDataset(locations, dataset.properties)
        for kind in (Kind.CONVERSION, Kind.RECIPE, Kind.ARRAY, Kind.LEDGER):
            for problem in problems:
                if problem.kind is kind:
                    work.rebuild(problem)
        if any(problem.kind is Kind.GROUP for problem in problems):
            for path in refresh_group_files(locations.dataset, dataset.properties, work.data_scratch):
                say(f"{path} was written anew from the properties")
        if any(problem.kind is Kind.LEFTOVER for problem in problems):
            for directory in (locations.temporary, locations.data_temporary):
                for entry in directory.iterdir() if directory.is_dir() else ():
                    disk.remove_tree(entry, locations.root_of(entry))
        for scratch in (work.scratch, work.data_scratch):
            disk.remove_tree(scratch.directory, scratch.root)


def _newest_epoch(locations: Locations) -> int:
    ledgers = {segment.parent for segment in (locations.state / "ledger").glob("*/*/*.segment")}
    return max((record.epoch for directory in ledgers for record in Ledger.load(directory).records.values()), default=0)


def _check_properties(content: bytes) -> None:
    DatasetProperties.from_bytes(content)


class _Rebuild:
    """Rebuilds one file after the other."""

    def __init__(self, locations: Locations, epoch: Epoch, say: Say) -> None:
        self.locations = locations
        self.scratch, self.data_scratch = locations.scratch(epoch), locations.data_scratch(epoch)
        self.dataset: StoredDataset | None = None
        self._epoch = epoch
        self._say = say

    def rebuild(self, problem: Problem) -> None:
        """Rebuild what a problem names; what can not be stays as it is."""
        assert self.dataset is not None
        if problem.kind is Kind.CONVERSION:
            self.restore(self.locations.conversion_copy, self.locations.conversion, json.loads)
            return
        layer = self.dataset.layer(problem.layer)
        mag = Mag(problem.mag)
        try:
            if problem.kind is Kind.RECIPE:
                self._rebuild_recipe(layer, mag)
            elif problem.kind is Kind.ARRAY:
                self._rebuild_array(layer, mag)
            else:
                fold(self.locations.ledger(layer.name, mag), self._epoch.number, self.scratch)
                self._say(f"layer {layer.name}, mag {mag}: the ledger's damaged lines were left out")
        except WkpipeError as error:
            self._say(f"layer {layer.name}, mag {mag}: not rebuilt: {error}")

    def restore(self, copy: Path, path: Path, check: Callable[[bytes], object]) -> None:
        """Put a copy in the place of a file, if it is sound."""
        try:
            content = copy.read_bytes()
            check(content)
        except (OSError, ValueError) as error:
            self._say(f"{path} is not restored: the copy {copy} can not be used ({error})")
            return
        replace_file(path, content, self.data_scratch if path.parent == self.locations.dataset else self.scratch)
        self._say(f"{path} was restored as wkpipe wrote it last")

    def _rebuild_array(self, layer: LayerProperties, mag: Mag) -> None:
        recipe = load_recipe(self.locations, layer.name, mag)
        if recipe is None:
            raise MetadataError(f"it is not known how mag {mag} was made")
        identity = recorded_identity(self.locations, layer.name, mag)
        for name, content in array_files(recipe.spec, None if identity is None else identity.attributes).items():
            path = self.locations.array(layer.name, mag) / name
            replace_file(path, content, self.data_scratch)
            self._say(f"{path} was written again from the recipe")

    def _rebuild_recipe(self, layer: LayerProperties, mag: Mag) -> None:
        ledger = Ledger.load(self.locations.ledger(layer.name, mag))
        if is_written(self.locations, layer.name, mag, ledger):
            raise MetadataError(f"mag {mag} was written to by hand, so there is no way that it is made")
        params = {record.params for record in ledger.records.values() if record.params}
        for plan in self._candidates(layer, mag):
            if plan.params in params:
                path = self.locations.recipe(layer.name, mag)
                replace_file(path, json.dumps(plan.to_json()).encode(), self.scratch)
                self._say(f"{path} was written anew; its hash is the one that the records have")
                return
        raise MetadataError(f"no recipe has the hash that the records of mag {mag} have; make the mag again with --overwrite-existing")

    def _candidates(self, layer: LayerProperties, mag: Mag) -> Iterator[MagPlan]:
        """Yield every way in which the mag may have been made."""
        own = box_in_mag(layer.bounding_box(), mag)
        x, y, z = layer.box.size
        for spec in self._specs(layer, mag):
            base = MagPlan(layer.name, mag, spec, (own.topleft_xyz, own.bottomright_xyz), DOWNSAMPLE)
            for entry in layer.mags:
                if entry.mag == mag or any(a > b for a, b in zip(entry.mag, mag, strict=True)):
                    continue
                box = box_in_mag(layer.bounding_box(), entry.mag)
                source = replace(base, from_mag=entry.mag, source_box=(box.topleft_xyz, box.bottomright_xyz))
                for first, mode in itertools.product(sorted({0, entry.channel_index}), InterpolationMode):
                    yield replace(source, from_channel=first, interpolation=mode)
            times = dict(zip(layer.axes, spec.shape, strict=True)).get("t", 1)
            for first in range(_MOST_CHANNELS):
                channels = list(range(first, first + layer.num_channels))
                yield replace(base, kind=CONVERT, source={"sizes": [times, len(channels), z, y, x], "channels": channels})
            server, _, dataset = str((load_conversion(self.locations) or {}).get("source", "")).rpartition("/datasets/")
            yield replace(base, kind=DOWNLOAD, source={"server": server, "dataset": dataset})

    def _specs(self, layer: LayerProperties, mag: Mag) -> Iterator[ArraySpec]:
        """Yield the layouts that the mag's array may have: its own; if that is broken too, those of the layer's other mags."""
        assert self.dataset is not None
        corner = array_corner(box_in_mag(layer.bounding_box(), mag), layer.axes)
        for entry in sorted(layer.mags, key=lambda entry: entry.mag != mag):
            try:
                spec = self.dataset.open_mag(layer, entry).spec
            except WkpipeError:
                continue
            # New arrays have whole shards; of WKW, whose shape is nowhere on disk, the properties' one was taken for now.
            shape = spec.shape if entry.mag == mag else [spec.shape[i] if axis == "c" else corner[i] for i, axis in enumerate(spec.axes)]
            yield replace(spec, shape=tuple(-(-n // shard) * shard for n, shard in zip(shape, spec.shard_shape, strict=True)))
            if entry.mag == mag:
                return
