"""Act as another user of the machine: in a forked child that has dropped root's rights, with all modules loaded already."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from wkpipe.cli.app import run_app
from wkpipe.errors import WkpipeError
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.cut.task import Task
from wkpipe.runs.run import run_here

LAB = 60020
"""A group that Ada and Ben are in. The ids need no entry in /etc/passwd."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as other users")


@dataclass(frozen=True)
class User:
    uid: int
    gid: int
    umask: int = 0o022

    def with_umask(self, umask: int) -> User:
        return User(self.uid, self.gid, umask)

    @property
    def name(self) -> str:
        """The text with which wkpipe names the user, who has no name."""
        return f"user {self.uid}"

    def become(self) -> None:
        os.setgroups([self.gid])
        os.setgid(self.gid)
        os.setuid(self.uid)
        os.umask(self.umask)
        os.environ["HOME"] = "/nowhere"


ADA, BEN, EVE = User(60011, LAB), User(60012, LAB), User(60013, 60013)


@dataclass(frozen=True)
class Outcome:
    """The result of an action: its exit code and its output."""

    code: int
    said: str


class Child:
    """An action in a forked child; `outcome` waits for its end."""

    def __init__(self, action: Callable[[], int | None], user: User | None = None) -> None:
        self._output = tempfile.TemporaryFile("w+")  # noqa: SIM115
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 99
            try:
                for stream in (1, 2):
                    os.dup2(self._output.fileno(), stream)
                sys.stdout, sys.stderr = (io.TextIOWrapper(os.fdopen(n, "wb", 0), write_through=True) for n in (1, 2))
                if user is not None:
                    user.become()
                code = action() or 0
            except WkpipeError as error:
                print(f"wkpipe: {error}")
                code = error.exit_code
            except BaseException as error:
                print(f"{type(error).__name__}: {error}")
            finally:
                os._exit(code)

    def outcome(self) -> Outcome:
        _, status = os.waitpid(self.pid, 0)
        self._output.seek(0)
        with self._output as output:
            return Outcome(os.waitstatus_to_exitcode(status), output.read())


def act(action: Callable[[], int | None], user: User | None = None) -> Outcome:
    return Child(action, user).outcome()


def work(on_task: Callable[[Task], None] = lambda _: None, **values: object) -> None:
    """Plan and run in this process; notes are printed as the command line does."""
    config = load_config({key: str(value) if isinstance(value, Path) else value for key, value in values.items()}, "test")
    plan = make_plan(config, Sizing.local(1))
    for note in plan.notes:
        print(f"wkpipe: {note}")
    run_here(plan, on_task)


def cli(*arguments: str | Path) -> int:
    return run_app(list(map(str, arguments)))


@contextlib.contextmanager
def mounted(*arguments: str | Path) -> Iterator[None]:
    """Mount a file system; the last argument is the mount point."""
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", arguments[-1]], check=True)


def everything_below(root: Path) -> dict[str, tuple[object, ...]]:
    """Return kind, mode, owner, times and content of everything below a directory."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path.relative_to(root))] = (status.st_mode, status.st_uid, status.st_mtime_ns, status.st_ino, content)
    return found
