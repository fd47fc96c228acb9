"""The process that the jobs of a local run are forked from: it has imported what they need.

A rule's command starts a small program (workflow/scripts/ask.py), which connects to a Unix socket in a directory that only this user
can enter. The server accepts connections of its own user only (SO_PEERCRED), forks the job, and answers with the job's process id. The
job reads from the connection what its process would have inherited: standard streams and directory (SCM_RIGHTS), then the environment,
which must have the run's secret. Later the server sends the exit status. If it closes a connection before the first answer, the
program does the task in its own process. If a program ends, its job is killed; if the server ends, so do its jobs.

A fork has no other thread of its parent, so a lock that such a thread held would stay locked. The server has one thread: it is forked
from a process with one thread, and only accepts, forks and waits.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

from wkpipe.run.own_processes import SIGNALS, end_now, restore_signals
from wkpipe.storage.process import end_with_parent

JOBS_VARIABLE: Final = "WKPIPE_JOBS"
"""The environment variable with the path of the server's socket, for the jobs of a local run that `wkpipe` has started."""

MOST_BYTES: Final = 16 << 20
"""More than any environment has."""

_PROCESS: Final = struct.Struct("i")
_LENGTH: Final = struct.Struct("Q")
_PEER: Final = struct.Struct("3i")  # process (0 if it is of another pid namespace), uid, gid
_DESCRIPTORS: Final = 4

Step = Callable[[list[str]], int]
"""Does a task in this process: its arguments are those of ``wkpipe step``, its result is the exit code."""


@dataclass
class _ForkedJob:
    """A job and the connection to the program that asked for it; `status` is None while the job runs."""

    connection: socket.socket
    process: int
    status: int | None = None


class JobServer:
    """Forks jobs that do their tasks with `step`, as long as another child, `main`, runs. Jobs close the descriptors `not_theirs`."""

    def __init__(self, listener: socket.socket, main: int, step: Step, not_theirs: Sequence[int] = ()) -> None:
        self._listener = listener
        self._main = main
        self._step = step
        self._not_theirs = not_theirs
        self._jobs: dict[int, _ForkedJob] = {}
        self._left: set[int] = set()
        self._poll = select.poll()
        self._woken = socket.socketpair()
        for end in self._woken:
            end.setblocking(False)

    def serve(self) -> int:
        """Serve until `main` has ended, and return its status as ``os.waitpid`` does. Signals that end a process are passed on to it."""
        parent = os.getppid()
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN or number == signal.SIGCHLD:
                signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._woken[1].fileno(), warn_on_full_buffer=False)
        self._poll.register(self._woken[0], select.POLLIN)
        self._poll.register(self._listener, select.POLLIN)
        is_orphaned = False
        while True:
            if os.getppid() != parent and not is_orphaned:  # wkpipe was killed: Snakemake ends in order
                is_orphaned = True
                os.kill(self._main, signal.SIGTERM)
            process, status = os.waitpid(self._main, os.WNOHANG)
            if process:
                return status
            self._report_ended()
            self._reap()
            for descriptor, _ in self._poll.poll():
                if descriptor == self._woken[0].fileno():
                    self._woken[0].recv(4096)
                elif descriptor == self._listener.fileno():
                    self._accept()
                else:
                    self._forget(descriptor)

    def _accept(self) -> None:
        """Fork a job for a connection; close it if it is another user's, or if the system gives no process."""
        server = os.getpid()
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        # A signal for the new job must not be lost in this process's handler.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            process = os.fork() if is_own(connection) else -1
        except OSError:
            process = -1
        if process == 0:
            self._be_job(connection, server, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if process < 0:
            connection.close()
            return
        job = self._jobs[connection.fileno()] = _ForkedJob(connection, process)
        self._poll.register(connection, select.POLLRDHUP)
        _send(job, _PROCESS.pack(process))

    def _report_ended(self) -> None:
        """Send the status of each job that has ended. It stays a zombie, so that its id is not given to another process yet."""
        for job in self._jobs.values():
            if job.status is None:
                ended = os.waitid(os.P_PID, job.process, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if ended is not None:
                    job.status = ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status
                    _send(job, bytes([job.status]))

    def _forget(self, descriptor: int) -> None:
        """Close the connection of a program that has ended or hung up; its job is killed if it still runs."""
        job = self._jobs.pop(descriptor)
        self._poll.unregister(descriptor)
        if job.status is None:
            os.kill(job.process, signal.SIGKILL)
        self._left.add(job.process)
        job.connection.close()

    def _reap(self) -> None:
        self._left -= {process for process in self._left if os.waitpid(process, os.WNOHANG)[0]}

    def _be_job(self, connection: socket.socket, server: int, mask: set[int | signal.Signals]) -> NoReturn:
        """Be the job, in a process that was just forked, and end it."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            restore_signals()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            end_with_parent(server)
            for end in (*self._woken, self._listener, *(job.connection for job in self._jobs.values())):
                end.close()
            for descriptor in self._not_theirs:
                os.close(descriptor)
            arguments = _taken_over(connection)
            connection.close()  # if the server is killed, the program must see the end of the connection
            code = self._step(arguments)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            end_now(code)


def listening(path: str) -> socket.socket:
    """Return a socket that listens at a path.

    Raises
    ------
    OSError
        It cannot, for example because the path has more than 107 bytes.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
        listener.listen(128)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def is_own(connection: socket.socket) -> bool:
    """True if the process at the other end is the same user's and in the same pid namespace."""
    content = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    process: int
    uid: int
    process, uid, _ = _PEER.unpack(content)
    return process != 0 and uid == os.geteuid()


def _send(job: _ForkedJob, answer: bytes) -> None:
    with contextlib.suppress(OSError):  # the program has ended: the connection reports it too
        job.connection.send(answer, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)


def _taken_over(connection: socket.socket) -> list[str]:
    """Take over streams, directory and environment of the program at the other end; return the run and the task that it asks for."""
    connection.setblocking(True)
    head, descriptors, _, _ = socket.recv_fds(connection, _LENGTH.size, _DESCRIPTORS)
    (length,) = _LENGTH.unpack(head)
    if length > MOST_BYTES or len(descriptors) != _DESCRIPTORS:
        sys.exit(1)
    run, task, *environment = _received(connection, length).split(b"\0")
    os.environb.clear()
    os.environb.update(entry.partition(b"=")[::2] for entry in environment if b"=" in entry)
    os.environb.pop(os.fsencode(JOBS_VARIABLE), None)
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number, inheritable=True)
    os.fchdir(descriptors[3])
    for descriptor in descriptors:
        os.close(descriptor)
    return [os.fsdecode(run), os.fsdecode(task)]


def _received(connection: socket.socket, length: int) -> bytes:
    content = bytearray()
    while len(content) < length:
        if not (more := connection.recv(length - len(content))):
            sys.exit(1)
        content += more
    return bytes(content)
