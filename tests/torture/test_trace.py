"""The order of the system calls of a real run: write → sync → rename → sync of the directory → record → marker."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.torture.torture_helpers import FORMATS, write_slices

WRITES = ("write", "pwrite64", "pwritev", "pwritev2", "ftruncate", "fallocate")
CALLS = ",".join(["openat", *WRITES, "fsync,syncfs,rename,link,unlink,mkdir"])
LINE = re.compile(r"^(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$")
DESCRIPTOR = re.compile(r"^-?\d+<([^>]*)>")
QUOTED = re.compile(r'"([^"]*)"')

RUN = """
import json, sys
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import Run
from wkpipe.runs.stored_task import run_stored_task

plan = make_plan(load_config(json.loads(sys.argv[1]), "test"), Sizing(cores=1, least_seconds=0, target_seconds=0.02))
run = Run(plan)
with run.begun():
    for task in plan.tasks:
        run_stored_task(run.directory, task.name, run.seal)
"""


@dataclass
class Checker:
    """Follow a trace and note what is in the wrong order."""

    dataset: Path
    unsynced: set[Path] = field(default_factory=set)
    names: set[Path] = field(default_factory=set)
    """Final names in directories that were not synced since."""
    unrecorded: set[Path] = field(default_factory=set)
    """Files of the dataset that got their names after the last record."""
    seen: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def is_data(self, path: Path) -> bool:
        return path.is_relative_to(self.dataset) and not path.is_relative_to(self.dataset / ".wkpipe")

    def is_worthless(self, path: Path) -> bool:
        """True for the state of a run: after a crash of its host it is nothing."""
        return path.is_relative_to(self.dataset / ".wkpipe" / "runs")

    def expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.wrong.append(what)

    def changed(self, path: Path) -> None:
        if path.is_relative_to(self.dataset) and not self.is_worthless(path):
            self.unsynced.add(path)

    def synced(self, path: Path) -> None:
        self.seen["directory" if path.is_dir() else "file"] += 1
        self.unsynced.discard(path)
        self.names = {name for name in self.names if name.parent != path}

    def synced_all(self) -> None:
        self.seen["group"] += 1
        self.unsynced, self.names = set(), set()

    def renamed(self, source: Path, target: Path) -> None:
        self.seen["rename"] += 1
        if self.is_worthless(target):
            self.unsynced.discard(source)
            return
        self.expect(source not in self.unsynced, f"{target} got its name before its bytes were synced")
        if target.suffix == ".segment":
            self.seen["record"] += 1
            if "-folded-" not in target.name:
                self.unrecorded = set()
            late = [name for name in self.names if self.is_data(name)]
            self.expect(not late, f"a record was written before the names {late} were durable")
        if target == self.dataset / "datasource-properties.json":
            self.seen["published"] += 1
            self.expect(not self.unsynced, f"published before {self.unsynced} were synced")
            self.expect(not [name for name in self.names if self.is_data(name)], f"published before {self.names} were durable")
        if self.is_data(target) and target.suffix != ".json" and target.name[0] != ".":
            self.unrecorded.add(target)
        self.names.add(target)

    def made(self, directory: Path) -> None:
        """A directory has a name too, without which the names in it are lost."""
        if self.is_data(directory):
            self.seen["made"] += 1
            self.names.add(directory)

    def created(self, path: Path) -> None:
        if path.suffix == ".done":
            self.seen["marker"] += 1
            self.expect(not self.unsynced, f"marker {path.name} before {self.unsynced} were synced")
            self.expect(not self.names, f"marker {path.name} before the names {self.names} were durable")

    def removed(self, path: Path) -> None:
        if path.suffix == ".segment":
            self.seen["folded"] += 1
            self.expect(not self.names, f"{path} removed before {self.names} were durable")


def check(trace: Path, dataset: Path) -> Checker:
    checker = Checker(dataset)
    begun: dict[tuple[str, str], str] = {}
    for line in trace.read_text(errors="replace").splitlines():
        found = LINE.match(line)
        if found is None:
            continue
        thread, resumed, name, rest = found.groups()
        call = resumed or name
        is_sync = call in ("fsync", "syncfs")
        if rest.endswith("<unfinished ...>"):
            begun[thread, call] = rest
            if is_sync:
                continue  # counts when it has ended
        elif resumed:
            if not is_sync:
                continue  # counted when it began
            rest = begun.pop((thread, call)) + rest
        if not rest.endswith("<unfinished ...>") and "= -1" in rest:
            continue
        follow(checker, call, rest)
    return checker


def follow(checker: Checker, call: str, rest: str) -> None:
    paths = [Path(text) for text in QUOTED.findall(rest)]
    at = DESCRIPTOR.match(rest)
    descriptor = Path(at[1].removesuffix(" (deleted)")) if at else Path()
    if call in WRITES and descriptor.is_absolute() and "(deleted)" not in rest:
        checker.changed(descriptor)
    elif call == "fsync":
        checker.synced(descriptor)
    elif call == "syncfs":
        checker.synced_all()
    elif call == "rename":
        checker.renamed(*paths)
    elif call == "mkdir":
        checker.made(paths[0])
    elif call == "openat" and "O_CREAT" in rest:
        checker.created(paths[0])
    elif call == "unlink":
        checker.removed(paths[0])


@pytest.mark.slow
@pytest.mark.parametrize("data_format", FORMATS)
def test_nothing_is_named_before_it_is_durable(data_format: str, tmp_path: Path) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: the order of the system calls cannot be seen")
    dataset, trace = tmp_path / "dataset", tmp_path / "trace"
    values = {"source": str(write_slices(tmp_path / "em")), "voxel_size": "1,1,1", "target": str(dataset)} | FORMATS[data_format]
    strace = ["strace", "-f", "-y", "-s", "0", "--quiet=all", "-e", f"trace={CALLS}", "-o", str(trace)]
    try:
        subprocess.run([*strace, "true"], check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"strace may not trace here: {error.stderr.decode().strip()}")
    subprocess.run([*strace, sys.executable, "-c", RUN, json.dumps(values)], check=True, capture_output=True)
    checker = check(trace, dataset)
    assert checker.wrong == []
    assert checker.unrecorded == set(), "a record was written before the file that it proves"
    assert checker.unsynced - {path for path in checker.unsynced if path.parent.name == "locks"} == set()
    assert {path for path in checker.names if checker.is_data(path)} == set()
    # All chunk files of a mag are one unit here, so one segment holds all records and there is nothing to fold.
    kinds = {"file", "directory", "made", "rename", "record", "published", "marker"}
    assert kinds <= set(checker.seen), checker.seen
    print(dict(checker.seen))


@pytest.mark.parametrize(
    "lines, wrong",
    [
        (['write(3</d/.wkpipe/tmp/a.tmp>, ""..., 4) = 4', 'rename("/d/.wkpipe/tmp/a.tmp", "/d/em/1/c/0") = 0'], "before its bytes"),
        (['rename("/d/.wkpipe/tmp/a", "/d/em/1/c/0") = 0', 'rename("/d/.wkpipe/tmp/b", "/d/.wkpipe/ledger/x.segment") = 0'], "a record"),
        (['mkdir("/d/em/1/c", 0777) = 0', 'rename("/d/.wkpipe/tmp/b", "/d/.wkpipe/ledger/x.segment") = 0'], "a record"),
        (
            ['rename("/d/.wkpipe/tmp/b", "/d/.wkpipe/ledger/em/1/x.segment") = 0', 'openat(AT_FDCWD, "/d/r/a.done", O_CREAT|O_WRONLY) = 3'],
            "marker",
        ),
        (['rename("/d/.wkpipe/tmp/a", "/d/.wkpipe/ledger/f.segment") = 0', 'unlink("/d/.wkpipe/ledger/x.segment") = 0'], "removed before"),
        (['write(3</d/x>, ""..., 4) = 4', 'rename("/d/.wkpipe/tmp/a", "/d/datasource-properties.json") = 0'], "published before"),
    ],
)
def test_the_check_sees_what_it_is_for(lines: list[str], wrong: str, tmp_path: Path) -> None:
    (tmp_path / "trace").write_text("".join(f"12 {line}\n" for line in lines))
    assert any(wrong in text for text in check(tmp_path / "trace", Path("/d")).wrong)
