"""``wkpipe verify``: prove a dataset by itself."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from wkpipe.cli import options as o
from wkpipe.errors import IntegrityError, UsageError


def verify(
    target: o.Dataset,
    layer_name: Annotated[str | None, typer.Option(help="Layer to verify; default: all.")] = None,
    mag: Annotated[str | None, typer.Option(help="Mag to verify, like 2 or 2-2-1; default: all.")] = None,
    jobs: o.Jobs = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    state_dir: o.StateDir = None,
) -> None:
    """Prove a dataset: every shard against its recorded checksum, every chunk decoded. Writes nothing; exit code 4 if anything is wrong."""
    from wkpipe.geometry import Mag
    from wkpipe.plan.resources import available_cores
    from wkpipe.steps.verify import verify_dataset

    try:
        wanted = None if mag is None else Mag(mag)
    except ValueError as error:
        raise UsageError(f"--mag: {error}") from None
    on_unit = None if as_json or not sys.stderr.isatty() else _show
    threads = jobs or available_cores()
    report = verify_dataset(target, state_dir=state_dir, layer_name=layer_name, mag=wanted, threads=threads, on_unit=on_unit)
    if on_unit is not None:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    if as_json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        for note in report.notes:
            print(f"note: {note}")
        for problem in report.problems:
            print(problem)
        if report.is_sound:
            print(report.summary)
    if not report.is_sound:
        raise IntegrityError(report.summary + ("; each has its mend in the output" if as_json else "; each line above ends with its mend"))


def _show(done: int, total: int) -> None:
    print(f"\r\x1b[Kverified {done} of {total} storage shards", end="", file=sys.stderr, flush=True)
