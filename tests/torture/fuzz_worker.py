"""Run fuzz cases under guard: limited memory, limited time, nothing written."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import json
import os
import resource
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.torture.fuzz_seeds import make_seeds
from wkpipe.storage.process import peak_memory

HANG_SECONDS = 10
ADDRESS_SPACE = 4 << 30
RESIDENT_KB = 1 << 20
MOST_CHARACTERS = 4000
REFUSALS = (2, 3, 4, 75)


class Failure(AssertionError):
    """A case failed."""


def command(*arguments: str) -> tuple[int, str, str]:
    """Run a command line in this process; return exit code, stdout, stderr.

    Raises:
        Failure: there is a defect: a traceback, an exit code that no refusal has, an error that is not one line of text.
    """
    from wkpipe.cli.app import run_app

    out, err = io.StringIO(), io.StringIO()
    with guarded(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_app(arguments)
    text = f"wkpipe {' '.join(map(repr, arguments))}: exit code {code}: {err.getvalue()[-1500:]}"
    if code not in (0, *REFUSALS) or "a defect of wkpipe" in err.getvalue() or "Traceback" in err.getvalue():
        raise Failure(text + _traceback_of(arguments))
    lines = err.getvalue().splitlines()
    if code != 0 and (not lines or not lines[-1].startswith("wkpipe: ") or len(lines[-1]) < 20):
        raise Failure(f"{text}\nno line says what is wrong")
    if any(not line.startswith("wkpipe: ") or len(line) > MOST_CHARACTERS for line in lines):
        raise Failure(f"{text}\nnot one line of text each, or one of {max(map(len, lines))} characters")
    unprintable = {character for line in [*lines, *out.getvalue().split("\n")] for character in line if not character.isprintable()}
    if unprintable:
        raise Failure(f"{text}\n{out.getvalue()[-500:]!r}\nunprintable characters: {unprintable}")
    return code, out.getvalue(), err.getvalue()


def _traceback_of(arguments: tuple[str, ...]) -> str:
    """Run a command line again to find where it fails."""
    from wkpipe.cli.app import run_app

    os.environ["WKPIPE_DEBUG"] = "1"
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
            run_app(arguments)
    except BaseException:
        return "\n" + traceback.format_exc(limit=-6)
    finally:
        del os.environ["WKPIPE_DEBUG"]
    return "\n" + said.getvalue()[-3000:]


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """End the process with a traceback if the block takes too long."""
    assert sys.__stderr__ is not None
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=sys.__stderr__)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def refused_or_done(function: Callable[[], Any]) -> Any:
    """Call a function of the library; return its result, or the refusal that it raises.

    Raises:
        Failure: any other exception, or a refusal that is not one line.
    """
    from wkpipe.errors import WkpipeError

    try:
        with guarded():
            return function()
    except WkpipeError as error:
        if "\n" in str(error) or len(str(error)) > MOST_CHARACTERS:
            raise Failure(f"not one line of text: {error!r}"[:2000]) from None
        return error
    except Exception:
        raise Failure(traceback.format_exc(limit=-6)) from None


def snapshot(root: Path) -> dict[str, tuple[Any, ...]]:
    """Return what the file system says of everything below a directory."""
    found: dict[str, tuple[Any, ...]] = {}
    pending = [str(root)]
    while pending:
        directory = pending.pop()
        for entry in os.scandir(directory):
            status = entry.stat(follow_symlinks=False)
            # the time of a directory shows that files came or went
            found[entry.path] = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_ino)
            if entry.is_dir(follow_symlinks=False):
                pending.append(entry.path)
    return found


@dataclass
class Workspace:
    """The seeds of this process, and the changes that a case made to them."""

    root: Path
    _changed: dict[Path, tuple[bytes, int]] = field(default_factory=dict)

    @classmethod
    def made(cls, scratch: Path, kind: str) -> Workspace:
        """Copy the seeds, which are made only once, into a directory for the cases of one kind."""
        pristine, root = scratch / "pristine", scratch / "work" / kind / "seeds"
        if not pristine.is_dir():
            making = scratch / f"making-{os.getpid()}"
            make_seeds(making)
            making.rename(pristine)
        if root.parent.is_dir():
            shutil.rmtree(root.parent)
        shutil.copytree(pristine, root, symlinks=True)
        for file in root.glob("datasets/*/.wkpipe/conversion.json"):
            values = json.loads(file.read_text())
            file.write_text(json.dumps(values | {"source": str(root / "images" / "stack")}))
        return cls(root)

    def dataset(self, name: str) -> Path:
        return self.root / "datasets" / name

    def files(self, below: Path, *names: str) -> list[Path]:
        """Return the files below a directory that have one of the names, or all, in a fixed order."""
        return sorted(path for path in below.rglob("*") if path.is_file() and (not names or path.name in names))

    def change(self, path: Path, content: bytes, *, keep_time: bool = False) -> None:
        """Replace the content of a file until the case ends."""
        time_ns = self._note(path)
        path.write_bytes(content)
        if keep_time:
            os.utime(path, ns=(time_ns, time_ns))

    def displace(self, path: Path, make: Callable[[Path], Any]) -> None:
        """Put something else in the place of a file until the case ends."""
        self._note(path)
        path.unlink()
        make(path)

    def _note(self, path: Path) -> int:
        """Save a file as it is now; return its time of change."""
        time_ns = path.stat().st_mtime_ns
        self._changed[path] = path.read_bytes(), time_ns
        return time_ns

    @contextlib.contextmanager
    def copied(self, dataset: Path) -> Iterator[Path]:
        """Return a copy of a dataset as it is now, with its times of change."""
        copy = self.root.parent / "copy"
        shutil.copytree(dataset, copy, symlinks=True)
        try:
            yield copy
        finally:
            shutil.rmtree(copy)

    def restore(self) -> None:
        for path, (content, time_ns) in self._changed.items():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif not path.is_file() or path.is_symlink():
                path.unlink(missing_ok=True)
            path.write_bytes(content)
            os.utime(path, ns=(time_ns, time_ns))
        self._changed.clear()


Case = Callable[[Workspace, Random], str]
"""A function that runs one case and returns a word for the statistics.

Raises:
    Failure: wkpipe did something that it must never do.
"""


def run_cases(kind: str, first: int, count: int, scratch: Path) -> int:
    """Run cases and return the number of failures."""
    from tests.torture.fuzz_cases import KINDS

    workspace = Workspace.made(scratch, kind)
    home = str(workspace.root.parent)
    os.environ |= {"HOME": home, "XDG_STATE_HOME": home, "XDG_CACHE_HOME": str(scratch / "cache")}
    os.environ.pop("WKPIPE_STATE_DIR", None)
    case = KINDS[kind]
    case(workspace, Random(0))  # modules that are imported late are loaded now
    workspace.restore()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESS_SPACE, used + ADDRESS_SPACE))
    outcomes: dict[str, int] = {}
    failed, start = 0, time.monotonic()
    for number in range(first, first + count):
        (scratch / f"{kind}.case").write_text(str(number))
        problem = run_case(case, workspace, kind, number, outcomes)
        if problem:
            failed += 1
            print(json.dumps({"kind": kind, "case": number, "problem": problem}), flush=True)
    seconds = time.monotonic() - start
    print(json.dumps({"kind": kind, "done": count, "seconds": round(seconds, 2), "outcomes": outcomes, "peak_mb": _peak_kb() // 1024}))
    return failed


def run_case(case: Case, workspace: Workspace, kind: str, number: int, outcomes: dict[str, int]) -> str:
    """Run one case; return what went wrong, or an empty text."""
    peak = _peak_kb()
    problem = ""
    try:
        outcome = case(workspace, Random(f"{kind} {number}"))
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    except Failure as failure:
        problem = str(failure)
    except BaseException:
        problem = traceback.format_exc()
    finally:
        workspace.restore()
    if not problem and _peak_kb() > max(peak, RESIDENT_KB):
        problem = f"took {_peak_kb() // 1024} MB of memory"
    return problem


def _peak_kb() -> int:
    return peak_memory() >> 10
