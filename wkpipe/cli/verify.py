"""``wkpipe verify``: prove a dataset from its own records."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wkpipe.cli.command import command
from wkpipe.cli.options import AsJson, WorkOptions
from wkpipe.errors import IntegrityError, MetadataError, NotWritable, UsageError

if TYPE_CHECKING:
    from wkpipe.run.strategy import Strategy
    from wkpipe.stored.lease import Lookout
    from wkpipe.verify.report import VerifyReport
    from wkpipe.verify.select import Selection


@command(
    "target layer_name mag sample seed part deep repair adopt forget jobs distribution_strategy job_resources profile as_json state_dir"
    " break_lock quiet"
)
def verify(
    *,
    target: Path,
    layer_name: Annotated[str | None, typer.Option("--layer-name", "--layer", help="Layer to verify; default: all.")] = None,
    mag: Annotated[str | None, typer.Option(help="Mag to verify, like 2 or 2-2-1; default: all.")] = None,
    sample: Annotated[str | None, typer.Option(help="Check only a share of the storage shards, like 5%.")] = None,
    part: Annotated[str | None, typer.Option(help="Do one machine's part of the work, like 3/10.")] = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Compute coarser mags again and compare voxels: 5% of the shards, or all of the --sample.")
    ] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Make damaged storage shards again, as far as their source exists.")] = False,
    adopt: Annotated[bool, typer.Option("--adopt", help="Record files that the ledger lacks and that decode, with checksums.")] = False,
    forget: Annotated[
        str | None, typer.Option(metavar="LAYER[/MAG]", help="Drop the records of a layer or mag that another tool has made again.")
    ] = None,
    as_json: AsJson = False,
    state_dir: Path | None,
    how: WorkOptions,
    seed: Annotated[int, typer.Option(help="Choose the share that --sample takes.")] = 0,
) -> None:
    """Prove a dataset: compare every shard with its recorded checksum, decode every chunk. Exit code 4 if anything is wrong.

    Writes nothing to the dataset, unless --repair or --adopt is given. Reads in this process, with --jobs threads; on a cluster,
    jobs read. Jobs always make the shards that --repair makes again.
    """
    from wkpipe.cluster.strategies import usable_cores
    from wkpipe.geometry import Mag
    from wkpipe.run.strategy import Strategy
    from wkpipe.stored.lease import Lookout
    from wkpipe.stored.locations import Locations
    from wkpipe.verify.select import Selection, parse_part, parse_share

    try:
        wanted = None if mag is None else Mag(mag)
    except ValueError as error:
        raise UsageError(f"{error}", where="--mag") from None
    if repair and adopt:
        raise UsageError("--repair and --adopt exclude each other: the one makes shards again, the other accepts them as they are")
    if adopt and sample is not None:
        raise UsageError("--adopt takes no --sample: shards that are not read cannot be recorded")
    if forget is not None:
        if repair or adopt or deep or layer_name or mag or sample or part:
            raise UsageError("--forget takes no other option about data: it reads none")
        _forget(target, forget, state_dir, how.break_lock)
        return
    selection = Selection(
        layer_name=layer_name,
        mag=wanted,
        share=None if sample is None else parse_share(sample),
        seed=seed,
        part=(1, 1) if part is None else parse_part(part),
        deep=deep,
    )
    strategy = Strategy.chosen(how.distribution_strategy, how.jobs, how.job_resources, how.profile)
    threads = usable_cores() if strategy.is_cluster else strategy.jobs
    show = _Show(as_json or how.quiet)
    work = _Reading(target, state_dir, selection, strategy, threads, how.break_lock, show)
    if adopt:
        show.say(f"recorded {work.adopted()} storage shards as they are")
    locations = Locations.of(target, state_dir)
    lookout = Lookout.begin(locations, how.break_lock) if repair else None
    report = work.verified()
    if lookout is not None and not report.is_sound:
        if work.by_jobs:  # the run of these jobs held the lease until now
            lookout = Lookout.begin(locations, how.break_lock)
        report = _repaired(target, report, selection, strategy, threads, state_dir, lookout, show)
    show.close()
    _print(report, selection, as_json)
    if not report.is_sound:
        raise IntegrityError(report.summary, fix="each has its fix in the output" if as_json else "each line above ends with its fix")


@dataclass(frozen=True)
class _Reading:
    """What is read, and where: in this process, or in jobs of a cluster."""

    target: Path
    state_dir: Path | None
    selection: Selection
    strategy: Strategy
    threads: int
    break_lock: bool
    show: _Show

    @property
    def by_jobs(self) -> bool:
        return self.strategy.is_cluster and self.selection.part == (1, 1)

    def adopted(self) -> int:
        """Record units as they are; return their number."""
        if self.by_jobs:
            from wkpipe.verify.as_jobs import adopted_count

            return adopted_count(self._reports(adopt=True))
        from wkpipe.verify.adopt import adopt_dataset

        return adopt_dataset(
            self.target,
            state_dir=self.state_dir,
            selection=self.selection,
            threads=self.threads,
            break_lock=self.break_lock,
            on_unit=self.show,
        )

    def verified(self) -> VerifyReport:
        """Return the report of verifying the dataset."""
        from wkpipe.verify.dataset import verify_dataset

        if self.by_jobs:
            from wkpipe.stored.places import place_at
            from wkpipe.verify.as_jobs import whole_report

            # This process reports lost properties; if no run can be started, it reads everything itself.
            with contextlib.suppress(MetadataError, NotWritable):
                return whole_report(Path(place_at(self.target).real()), self._reports(adopt=False))

        return verify_dataset(self.target, state_dir=self.state_dir, selection=self.selection, threads=self.threads, on_unit=self.show)

    def _reports(self, adopt: bool) -> tuple[bytes, ...]:
        from wkpipe.run.execute import Execution, execute
        from wkpipe.verify.as_jobs import verify_plan

        plan = verify_plan(self.target, self.state_dir, self.selection, self.strategy.sizing, adopt)
        return execute(plan, Execution(self.strategy, self.break_lock, self.show.is_silent)).reports


def _forget(target: Path, what: str, state_dir: Path | None, break_lock: bool) -> None:
    from wkpipe.verify.forget import forget

    if forget(target, what, state_dir=state_dir, break_lock=break_lock):
        print(f"dropped the records of {what}; it is accepted as it is from now on")
    else:
        print(f"there are no records of {what}")


def _repaired(
    target: Path,
    report: VerifyReport,
    selection: Selection,
    strategy: Strategy,
    threads: int,
    state_dir: Path | None,
    lookout: Lookout,
    show: _Show,
) -> VerifyReport:
    from wkpipe.plan.plan import Plan
    from wkpipe.run.execute import Execution, execute
    from wkpipe.verify.repair import repair_dataset

    def run(plan: Plan) -> None:
        show.close()
        for note in strategy.notes(plan):
            show.say(note)
        execute(plan, Execution(strategy, lookout.break_lock, show.is_silent))

    for problem in report.problems:
        show.say(f"found: {problem}")
    return repair_dataset(
        target,
        report,
        selection,
        state_dir=state_dir,
        sizing=strategy.sizing,
        run=run,
        break_lock=lookout.break_lock,
        threads=threads,
        on_unit=show,
        say=show.say,
        lookout=lookout,
    )


def _print(report: VerifyReport, selection: Selection, as_json: bool) -> None:
    sample = (
        None if selection.share is None else f"a sample of {selection.share:.6g} of each mag's storage shards, with seed {selection.seed}"
    )
    part = None if selection.part == (1, 1) else f"part {selection.part[0]} of {selection.part[1]}"
    if as_json:
        about = {"share": selection.share, "seed": selection.seed, "part": list(selection.part), "deep": selection.deep}
        print(json.dumps({**report.to_json(), "selection": about}, indent=2))
        return
    for text in (*report.notes, *(f"checked only {what}" for what in (sample, part) if what)):
        print(f"note: {text}")
    for problem in report.problems:
        print(problem)
    if report.is_sound:
        print(report.summary)


class _Show:
    """One line on a terminal that reports the progress."""

    def __init__(self, is_silent: bool) -> None:
        self.is_silent = is_silent
        self._is_terminal = not is_silent and sys.stderr.isatty()
        self._is_open = False

    def __call__(self, done: int, total: int, bytes_read: int) -> None:
        if self._is_terminal:
            text = f"\r\x1b[Kverified {done} of {total} storage shards ({100 * done // max(total, 1)} %), {bytes_read / 1e9:.2f} GB"
            print(text, end="", file=sys.stderr, flush=True)
            self._is_open = True

    def say(self, text: str) -> None:
        """Print a separate line."""
        self.close()
        if not self.is_silent:
            print(f"wkpipe: {text}", file=sys.stderr)

    def close(self) -> None:
        if self._is_open:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._is_open = False
