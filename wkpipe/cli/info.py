"""``wkpipe info``: what a dataset holds, and what is proven of it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from wkpipe.cli import options as o


def info(
    target: o.Dataset,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    state_dir: o.StateDir = None,
) -> None:
    """Show layers and mags: shapes, origin, and whether files and their sizes are the recorded ones. Reads no voxels, writes nothing."""
    from wkpipe.steps.summary import summarise

    summary = summarise(target, state_dir)
    print(json.dumps(summary.to_json(), indent=2) if as_json else summary.table())
