"""What convert and downsample do alike: plan, show, execute, sum up."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wkpipe.plan.plan import Plan
    from wkpipe.server.remote import FoundDataset
    from wkpipe.server.token import Token
    from wkpipe.server.upload import Uploaded


@dataclass(frozen=True)
class WorkOptions:
    """How the work is to be done, apart from what it is."""

    jobs: int | None
    strategy: str
    job_resources: str | None
    dry_run: bool
    break_lock: bool
    quiet: bool
    profile: str | None = None
    leave_jobs: bool = False


def work(
    values: Mapping[str, Any],
    options: WorkOptions,
    spellings: Mapping[str, str],
    done: str,
    nothing: str,
    token: Token | None = None,
    found: FoundDataset | None = None,
) -> Uploaded | None:
    """Plan and run what the options ask for; print a summary; return what is on a server then.

    `values` are those of a config; `spellings` names the options that are not spelled like their key. `done` and
    `nothing` are the last line's words, for work that was done and where there was none. `token` is for an upload or a
    download; `found` is the dataset to download.

    Raises:
        WkpipeError: with the exit code of the command.
    """
    from wkpipe.plan.build import make_plan
    from wkpipe.plan.config import load_config
    from wkpipe.plan.table import plan_table, upload_lines
    from wkpipe.run.execute import Execution, execute
    from wkpipe.run.slurm import await_orphans
    from wkpipe.run.strategy import Strategy
    from wkpipe.steps.permission import check_permitted
    from wkpipe.stored.locations import Locations

    def say(note: str) -> None:
        print(f"wkpipe: {note}", file=sys.stderr)

    strategy = Strategy.chosen(
        options.strategy, options.jobs, options.job_resources, options.profile, options.leave_jobs, may_run=not options.dry_run
    )
    given = {key: value for key, value in values.items() if value is not None}
    config = load_config(given, "command line", lambda key: spellings.get(key, "--" + key.replace("_", "-")))
    start = time.monotonic()
    if options.leave_jobs and not options.dry_run:
        await_orphans(Locations.of(config.target, config.state_dir), say)
    plan = make_plan(config, strategy.sizing, found=found, break_lock=options.break_lock, say=say)
    if not plan.is_empty and not options.dry_run:
        check_permitted(plan)  # a refusal is one line, whatever the plan found
    for note in (*plan.notes, *strategy.notes(plan)):
        say(note)
    if options.dry_run:
        if not plan.is_empty:
            _note_refusal(plan, say)
        print(plan_table(plan))
        return None
    if plan.is_empty:
        print("\n".join([nothing, *upload_lines(plan)]))
        return plan.uploaded
    outcome = execute(plan, Execution(strategy, options.break_lock, options.quiet, token))
    mags = sum(len(layer.publish) for layer in plan.layers)
    seconds = time.monotonic() - start
    proven = f", {plan.units_to_prove} proven" if plan.units_to_prove else ""
    print(f"{done}: {outcome.units} storage shards made{proven}, {mags} new mags in {len(plan.layers)} layers, {seconds:.1f} s")
    if outcome.uploaded is not None:
        print(f"uploaded: {outcome.uploaded.url}")
    return outcome.uploaded


def _note_refusal(plan: Plan, say: Callable[[str], None]) -> None:
    """Say in a dry run, which needs no right to write, that the run itself would be refused."""
    from wkpipe.errors import NotWritable
    from wkpipe.steps.permission import check_permitted

    try:
        check_permitted(plan)
    except NotWritable as refusal:
        say(f"a run would be refused: {refusal}")
