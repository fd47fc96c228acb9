"""The step of `FromServer`: download units from a dataset on a server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from wkpipe.errors import ServerError
from wkpipe.plan.origins.from_server import FromServer
from wkpipe.steps.download import downloader
from wkpipe.steps.work import Work
from wkpipe.storage.record import Record


def make_units(work: Work, origin: FromServer) -> Iterator[Record]:
    """Download units, and yield the record of each when it is committed.

    Raises:
        ServerError: the job was started without access to the server.
    """
    plan, remote, server = work.mag_plan, work.plan.download, work.server
    if remote is None or server is None:
        raise ServerError("the job has no access to the server", where=f"layer {plan.layer}, mag {plan.mag}", fix="start the run again")
    inputs = origin.inputs(plan, (), remote, {})
    with downloader(remote, plan, work.task.threads, server.token, server.say, server.policy) as download:
        pending = [unit for unit in work.range.units if not work.is_proven(unit, inputs)]
        work.begin(pending)
        with contextlib.closing(download.download(work.target, pending, work.scratch, work.on_voxels)) as units:
            for unit, proof in units:
                yield work.made(unit, proof, inputs)
