"""Make the plan of a run from its config: whatever can be refused is refused here, before a byte is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from wkpipe.errors import NotWritable
from wkpipe.geometry import Mag
from wkpipe.metadata.properties import PROPERTIES_FILE_NAME
from wkpipe.plan.config import Config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.cost.sampled import Need
from wkpipe.plan.cost.space import RECORD_BYTES, Free, check_space, free_bytes, space_needed
from wkpipe.plan.cut.grouping import group_tasks
from wkpipe.plan.cut.task import upload_task
from wkpipe.plan.layers.draft import Draft
from wkpipe.plan.layers.existing import plan_existing, plan_nothing
from wkpipe.plan.layers.upsampling import plan_upsampling
from wkpipe.plan.plan import LayerPlan, Plan, Preparation
from wkpipe.plan.request import DownsampleRequest
from wkpipe.plan.state.found import LayerSurvey
from wkpipe.plan.state.published import is_marked
from wkpipe.plan.state.uploaded import uploaded_already
from wkpipe.plan.wishes.upsampling import UpsamplingRequest
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.lease import Lookout, elsewhere_text, state_elsewhere
from wkpipe.stored.locations import TEMPORARY, Locations
from wkpipe.stored.published import published_place
from wkpipe.stored.renaming import check_no_renaming

if TYPE_CHECKING:
    from wkpipe.plan.layers.new_layers import Say
    from wkpipe.plan.wishes.copying import CopyRequest, RecodingRequest
    from wkpipe.server.download.remote import FoundDataset
    from wkpipe.server.upload.request import UploadRequest


def make_plan(
    config: Config,
    sizing: Sizing,
    free: Free = free_bytes,
    found: FoundDataset | None = None,
    break_lock: bool = False,
    say: Say = lambda _: None,
    with_markers: bool = False,
) -> Plan:
    """Plan a run: inspect source and target, and compare what is wanted with what is proven. Writes nothing.

    `free` returns the free bytes of a place, or None if it is not known. `found` is the dataset to download.
    With `break_lock`, planning does not wait for a run that may be gone. `say` is called with a line if planning takes long.
    With `with_markers`, every layer gets a published marker (see `wkpipe.plan.state.published`) and a publish task of its own;
    without, markers are updated only if an earlier run has made some.

    Raises:
        InputRefused: the source or the target cannot be used, or the disk is too small.
        IntegrityError: a source has lost shards or is damaged.
        TryAgain: one of these, but another run may be at work and cause it; or the renaming of a layer has not ended.
    """
    return _looked_out(
        Locations.of(config.target, config.state_dir), break_lock, lambda: _planned(config, sizing, free, found, say, with_markers)
    )


def make_downsample_plan(request: DownsampleRequest, sizing: Sizing, free: Free = free_bytes) -> Plan:
    """Plan a run that downsamples, as `make_plan` does for a config.

    Raises:
        WkpipeError: see `make_plan`.
    """
    return _requested(Locations.of(request.dataset, request.state_dir), lambda: plan_existing(request), sizing, free)


def make_upsampling_plan(request: UpsamplingRequest, sizing: Sizing, free: Free = free_bytes) -> Plan:
    """Plan a run that upsamples, as `make_plan` does for a config.

    Raises:
        WkpipeError: see `make_plan`.
    """
    return _requested(Locations.of(request.dataset), lambda: plan_upsampling(request), sizing, free)


def make_added_layers_plan(config: Config, allow_several: bool, sizing: Sizing, free: Free = free_bytes) -> Plan:
    """Plan to add layers from images to an existing dataset, as `make_plan` does for a new one.

    Raises:
        WkpipeError: see `make_plan`; or the images make several layers, and this is not allowed.
    """

    def drafted() -> Draft:
        from wkpipe.plan.layers.new_layers import plan_added_layers  # other runs do not need it

        return plan_added_layers(config, allow_several)

    return _requested(Locations.of(config.target, config.state_dir), drafted, sizing, free)


def make_copy_plan(request: CopyRequest | RecodingRequest, sizing: Sizing, free: Free = free_bytes) -> Plan:
    """Plan a run that copies mags, or stores them in another way, as `make_plan` does for a config.

    Raises:
        WkpipeError: see `make_plan`.
    """

    def drafted() -> Draft:
        from wkpipe.plan.layers.copies import plan_copies  # other runs do not need these
        from wkpipe.plan.layers.recoding import plan_recoding
        from wkpipe.plan.wishes.copying import CopyRequest

        return plan_copies(request) if isinstance(request, CopyRequest) else plan_recoding(request)

    return _requested(Locations.of(request.dataset), drafted, sizing, free)


def _requested(locations: Locations, drafted: Callable[[], Draft], sizing: Sizing, free: Free) -> Plan:
    """Return the plan of a request of the library, of which `drafted` returns the draft."""

    def planned() -> Plan:
        draft = drafted()
        return _finished(draft, sizing, _check_space(draft, sizing, free, None))

    return _looked_out(locations, False, planned)


def _looked_out(locations: Locations, break_lock: bool, planned: Callable[[], Plan]) -> Plan:
    """Return what `planned` returns, with what is known of other runs since before it was called."""
    lookout = Lookout.begin(locations, break_lock)
    check_no_renaming(locations)
    with lookout.refusals_checked():
        plan = planned()
    elsewhere = state_elsewhere(locations)
    notes = plan.notes if elsewhere is None else (f"{locations.dataset}: {elsewhere_text(elsewhere)}", *plan.notes)
    return replace(plan, epoch=lookout.epoch, working=lookout.working, notes=notes)


def _planned(config: Config, sizing: Sizing, free: Free, found: FoundDataset | None, say: Say, with_markers: bool) -> Plan:
    assert (found is None) == (config.download_url is None)
    draft = _drafted(config, found, say)
    if with_markers and found is None and config.source is None:
        _add_other_layers(config, draft)
    upload = _upload_request(config, draft)
    space = None if config.ignore_disk_space else _check_space(draft, sizing, free, found)
    plan = _finished(draft, sizing, space, with_markers, upload)
    return plan if found is None else replace(plan, download=found.remote)


def _finished(draft: Draft, sizing: Sizing, space: Need | None, with_markers: bool = False, upload: UploadRequest | None = None) -> Plan:
    """Cut the pending work into tasks, and return the plan."""
    changed = _changed_layers(draft)
    unmarked = _unmarked_layers(draft, changed, with_markers)
    tasks = group_tasks(draft.pending, [*changed, *unmarked], sizing, draft.doubtful, apart=with_markers)
    uploaded = None
    if upload is not None and (changed or (uploaded := uploaded_already(upload)) is None):
        tasks = (*tasks, upload_task(tasks))
    return Plan(
        dataset=draft.locations.dataset,
        state=draft.locations.state,
        layers=tuple(draft.layers),
        tasks=tasks,
        new_dataset=draft.new_dataset,
        conversion=draft.conversion,
        notes=tuple(draft.notes),
        preparation=Preparation(
            draft.adopted, tuple(draft.reset), tuple(draft.unpublish), tuple(draft.forgotten), draft.remove_target, draft.images
        ),
        reasons=tuple(draft.reasons),
        space=space,
        accounts=tuple(draft.accounts),
        upload=upload,
        uploaded=uploaded,
        generations=draft.locations.generations,
    )


# What conversions and transfers need is slow to import, and planned only if there is one.


def _drafted(config: Config, found: FoundDataset | None, say: Say) -> Draft:
    if found is None and config.source is None:
        return plan_existing(DownsampleRequest.of(config)) if config.downsample else plan_nothing(config.target, config.state_dir)
    from wkpipe.plan.layers.new_layers import plan_from_images, plan_new_download

    return plan_from_images(config) if found is None else plan_new_download(config, found, say)


def _upload_request(config: Config, draft: Draft) -> UploadRequest | None:
    if config.webknossos_url is None:
        return None
    from wkpipe.plan.wishes.upload import upload_request

    return upload_request(config, config.webknossos_url, draft.locations, draft.name)


def _known_rates(found: FoundDataset, draft: Draft) -> dict[tuple[str, Mag], Need]:
    from wkpipe.plan.cost.download_space import sampled_rates

    return sampled_rates(found, draft.pending)


def _add_other_layers(config: Config, draft: Draft) -> None:
    """Add the layers of an existing dataset that need no work to the plan, for their markers."""
    properties = draft.locations.properties_file().read()
    planned = {layer.name for layer in draft.layers}
    for layer in properties.layers:
        if layer.name not in planned and config.layer_name in (None, layer.name):
            draft.add(LayerPlan(layer.name, (), ()), LayerSurvey())


def _changed_layers(draft: Draft) -> list[str]:
    """Return the layers whose data or properties the run may change."""
    doubtful = {mag.layer for mag in draft.doubtful}
    return [
        layer.name
        for layer in draft.layers
        if layer.publish or layer.discarded or layer.changes_entry or draft.pending[layer.name] or layer.name in doubtful
    ]


def _unmarked_layers(draft: Draft, changed: Sequence[str], with_markers: bool) -> list[str]:
    """Return the other layers whose published marker is missing or outdated and can be written.

    The marker of a dataset that cannot be written stays as it is: a run with nothing to do needs no write permission.
    """
    locations = draft.locations
    file = locations.properties_file()
    markers = published_place(locations.store)
    if not file.is_there() or not (with_markers or markers.is_directory()):
        return []
    dataset = StoredDataset(locations, file.read())
    names = [layer.name for layer in draft.layers if layer.name not in changed]
    unmarked = [name for name in names if not is_marked(dataset, dataset.layer(name), draft.contents[name])]
    try:
        if unmarked:
            locations.data.check_replaceable(PROPERTIES_FILE_NAME, "")
            for place in (markers, locations.runs, locations.locks):
                place.check_writable(fix="")
    except NotWritable:
        draft.notes += [f"layer {name}: its marker in {markers.path()} is not up to date and cannot be written" for name in unmarked]
        return []
    return unmarked


def _check_space(draft: Draft, sizing: Sizing, free: Free, found: FoundDataset | None) -> Need:
    """Return the disk space that the pending units will take; add a note if it is tight.

    Raises:
        NotWritable: the data do not fit on the dataset's disk, or the state does not fit on its own.
    """
    if not any(draft.pending.values()):
        return Need()
    locations = draft.locations
    known = None if found is None else _known_rates(found, draft)
    need = space_needed(draft.pending, draft.stored, sizing.cores, known)
    records = sum(len(mag.units) for mags in draft.pending.values() for mag in mags) + sum(map(len, draft.adopted.values()))
    state = Need(RECORD_BYTES * records, 2 * RECORD_BYTES * records)  # twice while the ledger is folded
    if locations.store.volume() == locations.data.volume():
        need += state
    else:
        draft.notes += check_space(locations.store, state, [locations.store.child(TEMPORARY)], free)
    removed = [locations.array(layer, mag) for layer, mag in draft.reset]
    removed = [locations.data] if draft.remove_target else [*removed, locations.inside.child(TEMPORARY)]
    draft.notes += check_space(locations.data, need, removed, free)
    return need
