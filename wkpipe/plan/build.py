"""Make the plan of a run from its config: everything that can be refused is refused here, before a byte is written."""

from __future__ import annotations

from dataclasses import replace

from wkpipe.plan.config import Config
from wkpipe.plan.download_space import sampled_rates
from wkpipe.plan.draft import Draft
from wkpipe.plan.existing import plan_existing
from wkpipe.plan.grouping import group_tasks
from wkpipe.plan.mag_plan import CONVERT
from wkpipe.plan.new_layers import Say, plan_from_images, plan_new_download
from wkpipe.plan.plan import Plan, Preparation
from wkpipe.plan.resources import Sizing
from wkpipe.plan.space import RECORD_BYTES, Free, Need, check_space, free_bytes, space_needed
from wkpipe.plan.upload import upload_request, upload_task, uploaded_already
from wkpipe.server.remote import FoundDataset
from wkpipe.storage.access import nearest
from wkpipe.stored.lease import Lookout, elsewhere_text, state_elsewhere
from wkpipe.stored.locations import Locations


def make_plan(
    config: Config,
    sizing: Sizing,
    free: Free = free_bytes,
    found: FoundDataset | None = None,
    break_lock: bool = False,
    say: Say = lambda _: None,
) -> Plan:
    """Plan a run: inspect source and target, and hold what is wanted against what is proven. Writes nothing.

    `free` tells the free bytes of the file system of a path, None where that is not known. `found` is the dataset to download.
    With `break_lock`, a run that may be gone is not waited for. `say` is given a line if planning takes long.

    Raises:
        InputRefused: the source or the target can not be worked on, or the disk is too small.
        IntegrityError: a source has lost shards or is damaged.
        TryAgain: the same, but it may be the work in progress of another run.
    """
    locations = Locations.of(config.target, config.state_dir)
    lookout = Lookout.begin(locations, break_lock)
    with lookout.refusals_checked():
        plan = _planned(config, sizing, free, found, say)
    elsewhere = state_elsewhere(locations)
    notes = plan.notes if elsewhere is None else (f"{locations.dataset}: {elsewhere_text(elsewhere)}", *plan.notes)
    return replace(plan, epoch=lookout.epoch, working=lookout.working, notes=notes)


def _planned(config: Config, sizing: Sizing, free: Free, found: FoundDataset | None, say: Say) -> Plan:
    assert (found is None) == (config.download_url is None)
    if found is not None:
        draft = plan_new_download(config, found, say)
    else:
        draft = plan_from_images(config) if config.source is not None else plan_existing(config)
    upload = upload_request(config, draft.locations, draft.name)
    space = None if config.ignore_disk_space else _check_space(draft, sizing, free, found)
    converted_anew = {name for name, pending in draft.pending.items() if any(mag.plan.kind == CONVERT for mag in pending)}
    publish = [
        layer.name for layer in draft.layers if layer.publish or layer.discarded or layer.new is not None or layer.name in converted_anew
    ]
    tasks = group_tasks(draft.pending, publish, sizing, draft.doubtful)
    uploaded = None
    if upload is not None and (tasks or (uploaded := uploaded_already(upload)) is None):
        tasks = (*tasks, upload_task(tasks))
    return Plan(
        dataset=draft.locations.dataset,
        state=draft.locations.state,
        layers=tuple(draft.layers),
        tasks=tasks,
        new_dataset=draft.new_dataset,
        conversion=draft.conversion,
        notes=tuple(draft.notes),
        preparation=Preparation(draft.adopted, tuple(draft.reset), tuple(draft.unpublish), tuple(draft.forgotten), draft.remove_target),
        reasons=tuple(draft.reasons),
        space=space,
        upload=upload,
        uploaded=uploaded,
        download=None if found is None else found.remote,
    )


def _check_space(draft: Draft, sizing: Sizing, free: Free, found: FoundDataset | None) -> Need:
    """Return what the pending units will take on the dataset's disk; note where that is tight.

    Raises:
        NotWritable: it does not fit, or the state does not, where that lies on another disk.
    """
    if not any(draft.pending.values()):
        return Need()
    locations = draft.locations
    known = None if found is None else sampled_rates(found, draft.pending)
    need = space_needed(draft.pending, draft.stored, sizing.cores, known)
    records = sum(len(mag.units) for mags in draft.pending.values() for mag in mags) + sum(map(len, draft.adopted.values()))
    state = Need(RECORD_BYTES * records, 2 * RECORD_BYTES * records)  # twice while the ledger is folded
    if nearest(locations.state).stat().st_dev == nearest(locations.dataset).stat().st_dev:
        need += state
    else:
        draft.notes += check_space(locations.state, state, [locations.temporary], free)
    removed = [locations.array(layer, mag) for layer, mag in draft.reset]
    removed = [locations.dataset] if draft.remove_target else [*removed, locations.data_temporary]
    draft.notes += check_space(locations.dataset, need, removed, free)
    return need
