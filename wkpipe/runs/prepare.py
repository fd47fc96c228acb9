"""Prepare a dataset for the jobs of a run: remove leftovers of older runs, write array metadata and recipes."""

from __future__ import annotations

import contextlib
import json

from wkpipe.errors import WkpipeError
from wkpipe.formats import has_array, new_metadata
from wkpipe.metadata.json_node import MAX_BYTES
from wkpipe.metadata.properties import PROPERTIES_FILE_NAME, DatasetProperties
from wkpipe.plan.cut.task import PUBLISH
from wkpipe.plan.mag_plan import MagPlan, planned_array
from wkpipe.plan.plan import Plan
from wkpipe.runs.permission import check_emptying, entries_to_delete
from wkpipe.steps.swap import remove_abandoned_remakes
from wkpipe.storage.commits import Commits
from wkpipe.storage.lease import Epoch
from wkpipe.storage.ledger import SORTED, LedgerWriter
from wkpipe.storage.removal import remove_older
from wkpipe.storage.scratch import Scratch
from wkpipe.storage.stored_object import StoredObject, put_in_order
from wkpipe.stored.identity import MagIdentity, dataset_id, identity_file, identity_of_array, layout_of, recorded_identity
from wkpipe.stored.images_note import images_note
from wkpipe.stored.locations import Locations
from wkpipe.stored.published import published_place


def remove_leftovers(locations: Locations, epoch: Epoch) -> None:
    """Remove the leftovers of older runs: temporary files and markers.

    Files directly in ``tmp`` or ``locks`` may belong to a process that is changing metadata just now.
    """
    for scratch in (locations.scratch(epoch), locations.data_scratch(epoch)):
        remove_older(scratch)
    locations.locks.tidy()
    runs = locations.runs.writing(locations.scratch(epoch))
    for name in runs.names():
        if runs.is_link(name) or runs.is_directory(name):
            with contextlib.suppress(WkpipeError):  # a run that has lost its lease may still put files there
                runs.remove_below(name)


def prepare(plan: Plan, locations: Locations, epoch: Epoch) -> None:
    """Do what must be done once, before the first job; see `Preparation`."""
    preparation = plan.preparation
    scratch = locations.scratch(epoch)
    if preparation.remove_target:
        check_emptying(locations)  # again, because somebody else may have changed it since the run began
        # After a crash, the next run then knows that the rest of the old target is wkpipe's own and must be deleted.
        locations.conversion.put(json.dumps({"deleting": True}).encode(), scratch)
        _empty_target(locations, epoch)
    remove_abandoned_remakes(plan.layers, locations, epoch)
    _unpublish(plan, locations)
    for layer, mag in preparation.reset:
        # The recipe is removed last: after a crash, it shows the next run that the rest is wkpipe's own.
        locations.array(layer, mag).writing(locations.data_scratch(epoch)).remove_below()
        locations.records(layer, mag, scratch).remove_below()
    for layer, mag in preparation.forgotten:
        locations.records(layer, mag, scratch).remove_below()
    if plan.of_rule(PUBLISH):  # from now on markers are kept up to date
        published_place(locations.store).make_directory()
    known, arrays = _metadata(plan, locations, epoch)
    # Identities and recipes first: an array without them counts as another tool's.
    put_in_order([known, arrays])
    with Commits() as commits:
        for (layer, mag), records in preparation.adopted.items():
            with LedgerWriter(locations.records(layer, mag, scratch), epoch.number, SORTED, later=commits) as writer:
                writer.add(*sorted(records, key=lambda record: record.unit))


def _empty_target(locations: Locations, epoch: Epoch) -> None:
    """Delete the content of a dataset's directory, its properties first: a half deleted dataset must not look whole."""
    scratch = locations.data_scratch(epoch)
    locations.data.writing(scratch).remove([PROPERTIES_FILE_NAME])
    for place, name in entries_to_delete(locations):
        place.writing(scratch).remove_below(name)


def _unpublish(plan: Plan, locations: Locations) -> None:
    gone = plan.preparation.unpublish
    if not gone:
        return

    def change(properties: DatasetProperties) -> DatasetProperties:
        for name, mag in gone:
            layer = properties.layer(name)
            if any(entry.mag == mag for entry in layer.mags):
                properties = properties.with_layer(layer.without_mag(mag))
        return properties

    locations.properties_file().update(change)


def _metadata(plan: Plan, locations: Locations, epoch: Epoch) -> tuple[dict[StoredObject, bytes], dict[StoredObject, bytes]]:
    """Return what must be known of the dataset before its new arrays exist, and then their metadata, so that jobs only write shards."""
    scratch, data_scratch = locations.scratch(epoch), locations.data_scratch(epoch)
    dataset, known = dataset_id(locations, data_scratch, scratch)
    if plan.conversion is not None:
        content = json.dumps(dict(plan.conversion)).encode()
        known |= {each.writing(scratch): content for each in (locations.conversion, locations.conversion_copy)}
    for mag, said in plan.preparation.images.items():
        known[images_note(locations, *mag).writing(scratch)] = json.dumps(dict(said)).encode()
    arrays: dict[StoredObject, bytes] = {}
    for layer_plan in plan.layers:
        for mag_plan in layer_plan.mags:
            records, metadata = _array_files(mag_plan, locations, data_scratch, dataset)
            known |= {each.writing(scratch): content for each, content in records.items()}
            arrays |= {each.writing(data_scratch): content for each, content in metadata.items()}
        for found in layer_plan.found:  # the mags that are read
            file = identity_file(locations, layer_plan.name, found.mag)
            if not file.is_there():
                known[file.writing(scratch)] = identity_of_array(found.place, found.spec).to_bytes()
    return known, arrays


def _array_files(
    plan: MagPlan, locations: Locations, data_scratch: Scratch, dataset: str
) -> tuple[dict[StoredObject, bytes], dict[StoredObject, bytes]]:
    """Return recipe and identity of an array, and its metadata, as far as they are not there; an array that grows is resized.

    `dataset` is the dataset's id.
    """
    place, where = locations.array(plan.layer, plan.mag), locations.recipe(plan.layer, plan.mag)
    recipe = json.dumps(plan.to_json()).encode()
    is_new = not has_array(place)
    if not is_new and where.content(MAX_BYTES) == recipe:
        return {}, {}
    if not is_new:
        if (array := planned_array(plan, locations)).spec.shape != plan.spec.shape:
            array.resize(plan.spec.shape, data_scratch)
        return {where: recipe}, {}
    # A run that was killed here has left the identity, and maybe part of the metadata.
    identity = recorded_identity(locations, plan.layer, plan.mag)
    if identity is None or identity.layout != layout_of(plan.spec):
        identity = MagIdentity.new(dataset, plan.spec)
    files = new_metadata(place, plan.spec, identity.attributes)
    metadata = {locations.array_file(plan.layer, plan.mag, name): content for name, content in files.items()}
    return {where: recipe, identity_file(locations, plan.layer, plan.mag): identity.to_bytes()}, metadata
