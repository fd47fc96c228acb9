"""A Snakemake that imports its modules while the plan is made, and the server that its jobs are forked from.

`wkpipe` forks a process with one thread and no plan, lease or token. It becomes the server of the jobs (`job_server`) and forks another
one, which imports Snakemake and waits for its arguments. Both are in a session of their own, as a Snakemake that is started later. If
the plan is refused or empty, both are ended.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from wkpipe.run import snakemake_process
from wkpipe.run.job_server import JOBS_VARIABLE, JobServer, Step, listening
from wkpipe.run.own_processes import end_now, is_single_threaded, restore_signals
from wkpipe.server.http.token import TOKEN_VARIABLE
from wkpipe.storage import disk
from wkpipe.storage.process import end_with_parent

FAILED: Final = 70
"""The exit code of the server if it has a defect."""

_CALLED: Final = "snakemake"


@dataclass
class WarmSnakemake:
    """Snakemake and the server of its jobs: one process for the others, as `subprocess.Popen`. `start` sends the arguments."""

    pid: int
    returncode: int | None = None
    _request: int = -1
    _alive: int = -1
    _directory: str = ""

    def start(self, arguments: Sequence[str], directory: Path, environment: Mapping[str, str], log: Path) -> None:
        """Have Snakemake run with these arguments in a directory; it writes into a log that exists."""
        environment = {**environment, JOBS_VARIABLE: _socket_in(self._directory)}
        content = json.dumps([list(arguments), str(directory), environment, str(log)])
        with contextlib.suppress(BrokenPipeError), os.fdopen(self._request, "wb") as pipe:  # it has ended: `wait` reports how
            self._request = -1
            pipe.write(content.encode())

    def wait(self, timeout: float | None = None) -> int:
        """Wait until both have ended; return the exit code, or -N if signal N has ended Snakemake or the server.

        Raises
        ------
        subprocess.TimeoutExpired
            They still run.
        """
        if self.returncode is None:
            if not select.select([self._alive], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(_CALLED, timeout or 0)
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self.returncode

    def close(self) -> None:
        """End everything that still runs, and remove the socket."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)  # it may have no session yet
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        for descriptor in (self._request, self._alive):
            if descriptor >= 0:
                os.close(descriptor)
        _remove(self._directory)


@contextlib.contextmanager
def warm_snakemake(strategy: str, step: Step) -> Iterator[WarmSnakemake | None]:
    """Yield a Snakemake for a local strategy that imports its modules already; `step` does the tasks of its jobs.

    Yield None if this process cannot be forked safely, because it has several threads or a token, or if the system refuses. On exit,
    nothing of it is left.
    """
    warm = _forked(strategy, step) if is_single_threaded() and TOKEN_VARIABLE not in os.environ else None
    try:
        yield warm
    finally:
        if warm is not None:
            warm.close()


def _forked(strategy: str, step: Step) -> WarmSnakemake | None:
    """Fork the server; return None if the system refuses a directory, a socket or a process."""
    with contextlib.ExitStack() as opened, contextlib.suppress(OSError):
        directory = tempfile.mkdtemp(prefix="wkpipe-")
        opened.callback(_remove, directory)
        requested, request = _pipe(opened)
        alive, living = _pipe(opened)
        listener = opened.enter_context(listening(_socket_in(directory)))
        for stream in (sys.stdout, sys.stderr):  # what they hold must not be written twice
            stream.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _be_server(_Ends(parent, requested, living, listener, directory), (request, alive), strategy, step)
        opened.pop_all()
        listener.close()
        for descriptor in (requested, living):
            os.close(descriptor)
        return WarmSnakemake(pid, None, request, alive, directory)
    return None


def _pipe(opened: contextlib.ExitStack) -> tuple[int, int]:
    ends = os.pipe()
    for descriptor in ends:
        opened.callback(os.close, descriptor)
    return ends


@dataclass(frozen=True)
class _Ends:
    """What the server has from its parent: the reading end of the request, the writing end that shows that it lives, its socket."""

    parent: int
    requested: int
    living: int
    listener: socket.socket
    directory: str


def _be_server(ends: _Ends, not_mine: Sequence[int], strategy: str, step: Step) -> NoReturn:
    """Be the server of the jobs, in a process that was just forked, and end as Snakemake does."""
    try:
        os.setsid()
        restore_signals()
        end_with_parent(ends.parent)
        for descriptor in not_mine:
            os.close(descriptor)
        _forget_start()
        server = os.getpid()
        if (main := os.fork()) == 0:
            _be_snakemake(ends, server, strategy)
        os.close(ends.requested)
        status = JobServer(ends.listener, main, step, (ends.living,)).serve()
        _remove(ends.directory)
    except BaseException:
        end_now(FAILED)
    _end_as(os.waitstatus_to_exitcode(status))


def _end_as(code: int) -> NoReturn:
    """End this process with an exit code, or by the same signal as the process that has returned -N."""
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    end_now(code)


def _be_snakemake(ends: _Ends, server: int, strategy: str) -> NoReturn:
    """Be Snakemake, in a process that was just forked: import it, wait for the arguments, run it, and end."""
    code: object = 1
    try:
        end_with_parent(server)
        ends.listener.close()
        os.close(ends.living)
        snakemake_process.load(strategy)
        with os.fdopen(ends.requested, "rb") as pipe:
            content = pipe.read()
        if not content:  # there is no run
            end_now(0)
        arguments, directory, environment, log = json.loads(content)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(directory)
        output = disk.open_append(Path(log))
        for descriptor in (1, 2):
            os.dup2(output, descriptor)
        snakemake_process.main(strategy, arguments)
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        traceback.print_exc()
    end_now(code if isinstance(code, int) else int(code is not None))


def _forget_start() -> None:
    """Have this process be as one that was started as a job is: it reads and writes nothing, and imports nothing from its directory."""
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
    sys.stdout, sys.stderr = (_stream(descriptor) for descriptor in (1, 2))
    if not sys.flags.safe_path:
        del sys.path[0]  # the directory of the program, or the current one


def _stream(descriptor: int) -> io.TextIOWrapper:
    raw = io.FileIO(descriptor, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), errors="backslashreplace", line_buffering=descriptor == 2)


def _socket_in(directory: str) -> str:
    return f"{directory}/jobs"


def _remove(directory: str) -> None:
    for remove, path in ((os.unlink, _socket_in(directory)), (os.rmdir, directory)):
        with contextlib.suppress(OSError):
            remove(path)
