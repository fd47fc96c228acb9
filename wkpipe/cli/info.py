"""``wkpipe info``: show what is in a dataset, and how much of it is proven."""

from __future__ import annotations

import json
from pathlib import Path

from wkpipe.cli.command import command
from wkpipe.cli.options import AsJson


@command("target as_json state_dir")
def info(*, target: Path, as_json: AsJson = False, state_dir: Path | None) -> None:
    """Show layers and mags: shapes, origin, and whether the files and their sizes are as recorded. Reads no voxels, writes nothing."""
    from wkpipe.verify.summary import summarise

    summary = summarise(target, state_dir)
    print(json.dumps(summary.to_json(), indent=2) if as_json else summary.table())
