"""The frame of a run: take the lease, prepare the dataset, store the plan for the jobs; and the same without a workflow.

A run has a directory below ``runs/`` of the state: the plan, the markers of finished tasks (Snakemake's file targets;
they prove nothing), the errors of failed tasks, the logs. The main process makes it anew for every run and removes
those of older runs. What the jobs go by (plan, epoch, where the token is) is sealed: see `wkpipe.storage.seal`.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from wkpipe.errors import ProcessKilled, UsageError, WkpipeError
from wkpipe.formats import has_array, new_metadata
from wkpipe.metadata.properties import DatasetProperties
from wkpipe.metadata.store import PropertiesFile
from wkpipe.plan.mag_plan import DOWNLOAD, MagPlan, planned_array
from wkpipe.plan.plan import Plan, load_plan
from wkpipe.plan.task import UPLOAD, VERIFY, Task
from wkpipe.server.request import Uploaded
from wkpipe.server.token import Token
from wkpipe.steps.job_note import JobNote, add_notice, forget_error, job_note, note_error
from wkpipe.steps.permission import check_emptying, check_permitted, entries_to_delete
from wkpipe.steps.progress_note import ProgressNote
from wkpipe.steps.swap import forget_done, remove_abandoned_remakes
from wkpipe.steps.token_handover import PLACE_FILE, kept_in_memory, token_handed_over
from wkpipe.steps.upload import check_beforehand, upload_dataset
from wkpipe.steps.work import Server, run_task
from wkpipe.storage import disk
from wkpipe.storage.commit import Scratch, remove_abandoned, remove_directory, replace_file, replace_files
from wkpipe.storage.lease import Epoch
from wkpipe.storage.ledger import SORTED, LedgerWriter
from wkpipe.storage.process import limit_reached
from wkpipe.storage.seal import Seal
from wkpipe.stored.identity import MagIdentity, ensure_dataset_id, identity_file, identity_of_array, layout_of, recorded_identity
from wkpipe.stored.lease import DatasetLease, Lookout
from wkpipe.stored.locations import Locations

EPOCH_FILE = "epoch.json"


class Run:
    """A run of a plan: made when the plan is, `begun` when the first job may start.

    Making it writes nothing; so a dry run needs no cleaning up.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.locations = plan.locations
        self.seal = Seal.new()
        self.directory = self.locations.runs / self.seal.run

    def marker(self, task: Task) -> Path:
        """Return the file target of a task."""
        return self.directory / task.marker

    @contextlib.contextmanager
    def begun(self, break_lock: bool = False, token: Token | None = None) -> Iterator[Epoch]:
        """Hold the lease and have everything prepared for the jobs; the block is where they run. `token` is for an upload or a download.

        Raises:
            InputRefused, ServerError: the server that is to be uploaded to does not take the token, the name or the folder.
            TryAgain: another run works on the dataset, or did since the plan was made.
            NotWritable: the dataset or the state cannot be written; nothing was changed.
        """
        check_permitted(self.plan)
        if token is not None and self.plan.upload is not None and len(self.plan.tasks) > 1:  # the upload alone finds out soon enough
            check_beforehand(self.plan, token)
        with DatasetLease(self.locations, break_lock) as lease:
            Lookout(self.locations, self.plan.epoch, self.plan.working, break_lock).check_lease(lease)
            _remove_leftovers(self.locations)
            scratch = self.locations.scratch(lease.epoch)
            _prepare(self.plan, self.locations, lease.epoch)
            for name, data in self.plan.files().items():
                self._store(name, data, scratch)
            self._store(EPOCH_FILE, json.dumps(lease.epoch.to_json()).encode(), scratch)
            try:
                with contextlib.ExitStack() as kept:
                    if token is not None:
                        place = kept.enter_context(kept_in_memory(token))
                        self._store(PLACE_FILE, place.encode(), scratch)
                    yield lease.epoch
            finally:
                with contextlib.suppress(WkpipeError):
                    forget_done(self.locations)
                for used in (scratch, self.locations.data_scratch(lease.epoch)):
                    with contextlib.suppress(WkpipeError):  # the next run removes what is left
                        disk.remove_tree(used.directory, self.locations.root_of(used.directory))

    def _store(self, name: str, content: bytes, scratch: Scratch) -> None:
        replace_file(self.directory / name, self.seal.sealed(name, content), scratch)


def place_of(directory: Path, seal: Seal) -> Path:
    """Return wkpipe's directory in the dataset that a stored run works on.

    Raises:
        UsageError: another process than that of the run's seal has written it.
    """
    return _stored_epoch(directory, seal).lease.parents[1]


def run_stored_task(directory: Path, name: str, seal: Seal) -> None:
    """Do a task of a stored plan, as a job does: leave a marker, or a note of the error.

    Raises:
        UsageError: another process than that of the run's seal has written the plan.
        WkpipeError: as the task.
    """
    plan = load_plan(directory, seal, name)
    epoch = _stored_epoch(directory, seal)
    note = JobNote(directory, name)
    task = plan.tasks[0]
    forget_error(directory, name)
    try:
        result, made = b"", 0
        if task.rule == VERIFY:
            from wkpipe.steps.verify.as_jobs import verify_task  # other jobs need none of what this loads

            result = verify_task(plan, task, epoch)
        elif task.rule == UPLOAD:
            result = json.dumps(asdict(upload_dataset(plan, directory, seal))).encode()
        else:
            progress = ProgressNote(directory, name)
            tell = functools.partial(add_notice, directory)
            server = None
            if task.rule == DOWNLOAD:
                server = Server(token_handed_over(directory, seal), tell)
            made = run_task(plan, task, epoch, progress.add, fork=True, server=server, tell=tell)
            progress.write()
        note.end(made)
        disk.make_directory(directory / task.rule)
        marker = directory / task.marker
        descriptor = disk.open_append(marker)
        disk.write(descriptor, result, marker)
        disk.close(descriptor, marker)
    except WkpipeError as found:
        error = epoch.cause_of(found)
        note_error(directory, name, error.exit_code, str(error), is_final=not isinstance(error, ProcessKilled))
        raise error from found
    except Exception as defect:
        if (reason := limit_reached(defect)) is not None:
            note_error(directory, name, ProcessKilled.exit_code, reason, is_final=False)
            raise
        note_error(directory, name, WkpipeError.exit_code, f"a defect of wkpipe: {type(defect).__name__}: {defect}; please report it")
        raise


def _stored_epoch(directory: Path, seal: Seal) -> Epoch:
    try:
        content = (directory / EPOCH_FILE).read_bytes()
    except OSError as error:
        raise UsageError(f"{directory} does not hold a run: {error.strerror}; start wkpipe or snakemake again") from error
    return Epoch.from_json(json.loads(seal.opened(EPOCH_FILE, content)))


def units_made(run: Run) -> int:
    """Return how many units the jobs of a run have made, as they noted."""
    return sum(count for task in run.plan.tasks if type(count := job_note(run.directory, task.name).get("units")) is int)


def uploaded_by(run: Run) -> Uploaded | None:
    """Return what a run has uploaded, as the marker of the task says; None where it had nothing to upload."""
    for task in run.plan.of_rule(UPLOAD):
        return Uploaded(**json.loads(run.marker(task).read_bytes()))
    return None


def run_here(
    plan: Plan,
    on_task: Callable[[Task], None] = lambda _: None,
    server: Server | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> int:
    """Do all tasks of a plan in this process, one after the other: the way of the library, with the same bytes.

    Return how many units were made.

    `server` is what a download needs, `tell` says what the user is to know.

    Raises:
        WkpipeError: as the first task that fails.
    """
    made = 0
    if plan.is_empty:
        return made
    with Run(plan).begun() as epoch:
        for task in plan.tasks:
            try:
                made += run_task(plan, task, epoch, server=server, tell=tell)
            except WkpipeError as error:
                raise epoch.cause_of(error) from error
            on_task(task)
    return made


# -- preparation ----------------------------------------------------------------------------------------------------


def _remove_leftovers(locations: Locations) -> None:
    """Remove what older runs left: their temporary files and markers.

    Files that lie in ``tmp`` or ``locks`` themselves may belong to a process that is changing metadata just now.
    """
    for directory in (locations.temporary, locations.data_temporary, locations.runs):
        root = locations.root_of(directory)
        for entry in directory.iterdir() if directory.is_dir() else ():
            if entry.is_symlink() or entry.is_dir():  # wkpipe makes no links: one goes, and what it leads to stays
                with contextlib.suppress(WkpipeError):  # a run that was robbed of its lease may still put files there
                    disk.remove_tree(entry, root)
    for directory in {locations.temporary, locations.data_temporary, locations.locks}:
        remove_abandoned(directory)


def _prepare(plan: Plan, locations: Locations, epoch: Epoch) -> None:
    """Do what must be done once, before the first job; see `Preparation`."""
    preparation = plan.preparation
    scratch = locations.scratch(epoch)
    if preparation.remove_target:
        check_emptying(locations)  # again: somebody else may have changed it since the run began
        # What a crash leaves of the old target is then known to be wkpipe's own, and to be deleted by the next run.
        replace_file(locations.conversion, json.dumps({"deleting": True}).encode(), scratch)
        _empty_target(locations, locations.data_scratch(epoch))
    for layer_plan in plan.layers:
        remove_abandoned_remakes(layer_plan, locations, epoch)
    _unpublish(plan, locations)
    for layer, mag in preparation.reset:
        # The recipe goes last: it tells a run that comes after a crash that what is left is wkpipe's own.
        remove_directory(locations.array(layer, mag), locations.data_scratch(epoch))
        remove_directory(locations.ledger(layer, mag), scratch)
    for layer, mag in preparation.forgotten:
        remove_directory(locations.ledger(layer, mag), scratch)
    dataset = ensure_dataset_id(locations, locations.data_scratch(epoch), scratch)
    if plan.conversion is not None:
        for path in (locations.conversion, locations.conversion_copy):
            replace_file(path, json.dumps(dict(plan.conversion)).encode(), scratch)
    _prepare_arrays([mag_plan for layer_plan in plan.layers for mag_plan in layer_plan.mags], locations, epoch, dataset)
    _note_identities(plan, locations, scratch)
    for (layer, mag), records in preparation.adopted.items():
        with LedgerWriter(locations.ledger(layer, mag), epoch.number, SORTED) as writer:
            writer.add(*sorted(records, key=lambda record: record.unit))


def _empty_target(locations: Locations, scratch: Scratch) -> None:
    """Delete what a dataset's directory holds, its properties first: what is half gone must not look whole."""
    properties = PropertiesFile(locations.dataset, locations.state).path
    disk.unlink(properties)
    disk.sync_directory(locations.dataset)
    entries = entries_to_delete(locations)
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            remove_directory(entry, scratch)
        else:
            disk.unlink(entry)
    for parent in sorted({entry.parent for entry in entries}):
        disk.sync_directory(parent)


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

    PropertiesFile(locations.dataset, locations.state).update(change)


def _note_identities(plan: Plan, locations: Locations, scratch: Scratch) -> None:
    """Record whose the mags are that are read, where that was not recorded yet."""
    identities = {}
    for layer in plan.layers:
        for found in layer.found:
            path = identity_file(locations, layer.name, found.mag)
            if not path.exists():
                identities[path] = identity_of_array(found.path, found.spec).to_bytes()
    replace_files(identities, scratch)


def _prepare_arrays(plans: Sequence[MagPlan], locations: Locations, epoch: Epoch, dataset: str) -> None:
    """Have the arrays' metadata, recipes and identities in place, so that jobs only write shards. `dataset` is the dataset's id."""
    recipes: dict[Path, bytes] = {}
    metadata: dict[Path, bytes] = {}
    for plan in plans:
        path, where = locations.array(plan.layer, plan.mag), locations.recipe(plan.layer, plan.mag)
        recipe = json.dumps(plan.to_json()).encode()
        is_new = not has_array(path)
        if where.exists() and where.read_bytes() == recipe and not is_new:
            continue
        recipes[where] = recipe
        if is_new:
            # A run that was killed here has left the identity, and maybe a part of the metadata.
            identity = recorded_identity(locations, plan.layer, plan.mag)
            if identity is None or identity.layout != layout_of(plan.spec):
                identity = MagIdentity.new(dataset, plan.spec)
            recipes[identity_file(locations, plan.layer, plan.mag)] = identity.to_bytes()
            metadata |= new_metadata(path, plan.spec, identity.attributes)
        elif (array := planned_array(plan, locations)).spec.shape != plan.spec.shape:
            array.resize(plan.spec.shape, locations.data_scratch(epoch))
    # The recipes and identities first: an array without them counts as another tool's.
    replace_files(recipes, locations.scratch(epoch))
    replace_files(metadata, locations.data_scratch(epoch))
