"""The common part of convert, downsample and download: plan, show, run, and summarize."""

from __future__ import annotations

import contextlib
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from wkpipe.cli.streams import is_command
from wkpipe.run.own_processes import uncollected

if TYPE_CHECKING:
    from wkpipe.cli.command import Settings
    from wkpipe.cli.options import WorkOptions
    from wkpipe.plan.plan import Plan
    from wkpipe.run.strategy import Strategy
    from wkpipe.run.warm import WarmSnakemake
    from wkpipe.server.download.remote import FoundDataset
    from wkpipe.server.http.token import Token
    from wkpipe.server.upload.uploading import Uploaded
    from wkpipe.stored.locations import Locations

NEEDED_BY_JOBS: Final = ("wkpipe.run.execute", "wkpipe.plan.build", "wkpipe.runs.stored_task", "wkpipe.steps.from_mag")
"""The modules that jobs and the Snakefile import, and this process too: it imports them before it is forked."""


def work(
    settings: Settings,
    how: WorkOptions,
    done: str,
    nothing: str,
    token: Token | None = None,
    found: FoundDataset | None = None,
) -> Uploaded | None:
    """Plan and run what the options ask for; print a summary; return the uploaded dataset, if any.

    `done` and `nothing` are the words of the last line if there was work, and if there was none. `token` is for an upload or a
    download. `found` is the dataset to download.

    Raises:
        WkpipeError: its class has the exit code of the command.
    """
    with uncollected():
        from wkpipe.cli.in_cluster import check_version
        from wkpipe.run.strategy import Strategy

    check_version()
    strategy = Strategy.chosen(
        how.distribution_strategy, how.jobs, how.job_resources, how.profile, how.leave_jobs_running, may_run=not how.dry_run
    )
    with _warm(strategy, is_needed=not how.dry_run and token is None) as warm:
        return _run(settings, how, strategy, warm, (done, nothing), token, found)


@contextlib.contextmanager
def _warm(strategy: Strategy, is_needed: bool) -> Iterator[WarmSnakemake | None]:
    """Yield a Snakemake that imports its modules already, for jobs on this host; its jobs are forks of this process as it is now."""
    if not is_needed or strategy.is_cluster or not is_command():
        yield None
        return
    from wkpipe.cli.step import step_in_fork
    from wkpipe.run.warm import warm_snakemake

    with uncollected():
        for module in NEEDED_BY_JOBS:
            importlib.import_module(module)
    with warm_snakemake(strategy.name, step_in_fork) as warm:
        yield warm


def _run(
    settings: Settings,
    how: WorkOptions,
    strategy: Strategy,
    warm: WarmSnakemake | None,
    words: tuple[str, str],
    token: Token | None,
    found: FoundDataset | None,
) -> Uploaded | None:
    """See `work`; `words` are its `done` and `nothing`."""
    from wkpipe.cluster.orphans import await_orphans
    from wkpipe.plan.build import make_plan
    from wkpipe.plan.table import plan_table, upload_lines
    from wkpipe.run.execute import Execution, execute
    from wkpipe.runs.permission import check_permitted
    from wkpipe.stored.locations import Locations

    def say(note: str) -> None:
        print(f"wkpipe: {note}", file=sys.stderr)

    done, nothing = words
    config = settings.config()
    start = time.monotonic()
    if strategy.leave_jobs and strategy.cluster is not None and not how.dry_run:
        await_orphans(strategy.backend(), Locations.of(config.target, config.state_dir), say)
    _end_renaming(Locations.of(config.target, config.state_dir), how, say)
    plan = make_plan(config, strategy.sizing, found=found, break_lock=how.break_lock, say=say)
    if not plan.is_empty and not how.dry_run:
        check_permitted(plan)  # a refusal is one line, whatever is in the plan
    for note in (*plan.notes, *strategy.notes(plan)):
        say(note)
    if how.dry_run:
        if not plan.is_empty:
            _note_refusal(plan, say)
        print(plan_table(plan))
        return None
    for account in () if how.quiet else plan.accounts:
        say(account.text)
    if plan.is_empty:
        print("\n".join([nothing, *upload_lines(plan)]))
        return plan.uploaded
    outcome = execute(plan, Execution(strategy, how.break_lock, how.quiet, token, warm))
    mags = sum(len(layer.publish) for layer in plan.layers)
    seconds = time.monotonic() - start
    proven = f", {plan.units_to_prove} proven" if plan.units_to_prove else ""
    layers = f"{len(plan.layers)} layer{'' if len(plan.layers) == 1 else 's'}"
    print(f"{done}: {outcome.units} storage shards made{proven}, {mags} new mags in {layers}, {seconds:.1f} s")
    if outcome.uploaded is not None:
        print(f"uploaded: {outcome.uploaded.url}")
    return outcome.uploaded


def _end_renaming(locations: Locations, how: WorkOptions, say: Callable[[str], None]) -> None:
    """End the renaming of a layer that was stopped, unless this is a dry run, which changes nothing."""
    from wkpipe.runs.rename import end_renaming

    renamed = None if how.dry_run else end_renaming(locations, how.break_lock)
    if renamed is not None:
        say(f"layer {renamed.old} has the name {renamed.new} now: the call that gave it that name was stopped")


def _note_refusal(plan: Plan, say: Callable[[str], None]) -> None:
    """Report in a dry run, which needs no write permission, that the run itself would be refused."""
    from wkpipe.errors import NotWritable
    from wkpipe.runs.permission import check_permitted

    try:
        check_permitted(plan)
    except NotWritable as refusal:
        say(f"a run would be refused: {refusal}")
