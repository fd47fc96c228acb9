"""A run of plain Snakemake while it executes: it begins with the first job, and the process that holds the lease ends it.

Nothing here needs Snakemake's hooks. Snakemake does not run those of a module, and those of a workflow belong to its author. The run
begins when Snakemake asks for the parameters of the rule `begin`, which all tasks wait for; it ends with the hooks of wkpipe's
own workflow, or otherwise with the process.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wkpipe.errors import WkpipeError
from wkpipe.plan.cost.resources import available_memory_mb
from wkpipe.plan.cut.task import UPLOAD
from wkpipe.plan.origins.from_server import FromServer
from wkpipe.plan.state.published import read_marker
from wkpipe.run.failure import failure_of
from wkpipe.run.refusal import refuse, say, say_error
from wkpipe.run.targets import Targets
from wkpipe.runs.job_note import error_notes
from wkpipe.runs.run import Run, uploaded_by
from wkpipe.server.http.token import Token
from wkpipe.storage import disk
from wkpipe.storage.lease import Epoch
from wkpipe.stored.published import marker_object

LATER_THAN_ALL_NS = 4_000_000_000 * 10**9
"""The trigger's mtime until the run begins: in the year 2096, later than that of any marker whose clock is right."""


class BegunRun:
    """The run of a plan, from its creation to its end. `token` returns the token that an upload or a download needs."""

    def __init__(self, run: Run, targets: Targets, token: Callable[[], Token]) -> None:
        self.run = run
        self._targets = targets
        self._token = token
        self._lease = contextlib.ExitStack()
        self._epoch: Epoch | None = None
        self._refusal: WkpipeError | None = None
        self._ended = False
        self._process = os.getpid()
        self._markers = {
            layer.name: (content, marker.path.stat().st_mtime_ns)
            for layer in run.plan.layers
            if (content := read_marker(marker := marker_object(run.locations.store, layer.name))) is not None
        }

    def begin(self, workflow: Any) -> int:
        """Take the lease and prepare the dataset, once, if Snakemake is about to execute; return 0, or the exit code of a refusal."""
        if not workflow.is_main_process or workflow.scheduler is None or workflow.dryrun or workflow.touch:
            return 0
        if self._epoch is None and self._refusal is None:
            self._begin(workflow)
        return 0 if self._refusal is None else self._refusal.exit_code

    def _begin(self, workflow: Any) -> None:
        if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:  # the end of a terminal stops Snakemake as SIGTERM does
            signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        if workflow.local_exec and "mem_mb" not in workflow.global_resources:
            workflow.register_resource("mem_mb", available_memory_mb())
        atexit.register(self._at_exit)
        plan = self.run.plan
        try:
            self._targets.release()
            token = self._token() if plan.of_rule(UPLOAD) or plan.of_rule(FromServer.kind) else None
            self._epoch = self._lease.enter_context(self.run.begun(token=token))
        except WkpipeError as error:
            self._refusal = error

    def end(self) -> None:
        """Release the lease after success; print where the uploaded dataset is."""
        if self._epoch is None or self._ended:
            return
        uploaded = uploaded_by(self.run)
        self._close()
        if uploaded is not None:
            say(f"uploaded: {uploaded.url}")

    def fail(self, logs: str | Sequence[str] = ()) -> None:
        """Release the lease after tasks have failed; end the process with their error and its exit code, as `wkpipe` does.

        `logs` are the files with Snakemake's output (a single one in older versions).
        """
        if self._ended:
            return
        if self._refusal is not None:
            self._ended = True
            refuse(self._refusal)
        if self._epoch is None:
            return
        log = next((Path(name) for name in ([logs] if isinstance(logs, str) else logs)), None)
        error = self._epoch.cause_of(failure_of(self.run, log))
        self._close()
        refuse(error)

    def _at_exit(self) -> None:
        """End a run that no hook has ended, with the error's line and Snakemake's exit code."""
        if self._ended or os.getpid() != self._process:
            return
        if self._refusal is not None:
            self._ended = True
            say_error(self._refusal)
        elif self._epoch is not None and error_notes(self.run.directory):
            error = self._epoch.cause_of(failure_of(self.run))
            self._close()
            say_error(error)
        elif self._epoch is not None and all(self.run.marker(task).exists() for task in self.run.plan.of_rule(UPLOAD)):
            self.end()
        else:
            self._close()

    def _close(self) -> None:
        self._ended = True
        self._restore_times()
        self._lease.close()

    def _restore_times(self) -> None:
        """Restore the mtime of unchanged markers, because Snakemake touches the outputs of every job.

        Their ready files get the same mtime, because they must not be newer.
        """
        for layer, (content, mtime_ns) in self._markers.items():
            marker, ready = marker_object(self.run.locations.store, layer), self._targets.ready(layer)
            path = marker.path
            with contextlib.suppress(WkpipeError, OSError):  # it belongs to another user, or is gone
                if read_marker(marker) == content and path.stat().st_mtime_ns != mtime_ns:
                    disk.set_mtime(path, mtime_ns, path)
                    disk.set_mtime(ready, mtime_ns, ready)
