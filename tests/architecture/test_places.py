"""Files of a dataset or its state are reached through a `Place`; modules that open other files are listed here, with the reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "wkpipe"

OTHER_FILES = {
    "cli/streams.py": "standard streams and the null device",
    "cluster/kubernetes/api.py": "the namespace of the pod that this process runs in",
    "cluster/local_cluster.py": "a cluster for tests, which has a directory of its own",
    "cluster/records.py": "what jobs of other rules leave in Snakemake's directory",
    "cluster/testing.py": "the log of a job of the test",
    "formats/foreign.py": "tensorstore opens the arrays that it reads, by their path",
    "images/archives.py": "archives of images, which are the user's",
    "images/discover.py": "images, which are the user's",
    "images/globs.py": "images, which are the user's",
    "images/groups.py": "images, which are the user's",
    "images/missing.py": "the user's list of lost sections",
    "images/reader.py": "images, which are the user's",
    "images/readers/jpeg.py": "images, which are the user's",
    "images/readers/pillow.py": "images, which are the user's",
    "images/readers/png.py": "images, which are the user's",
    "images/readers/tiff.py": "images, which are the user's",
    "images/readers/tiff_pages.py": "images, which are the user's",
    "images/readers/tiff_segments.py": "images, which are the user's",
    "images/readers/unreadable.py": "images, which are the user's",
    "images/spool.py": "archives of images, and what they are decompressed to, in the user's cache",
    "native/build.py": "the engine's own sources",
    "native/library.py": "the engine's own library",
    "plan/config/identity.py": "the user's source, as an absolute path",
    "plan/cost/resources.py": "what the system and its cgroup have",
    "plan/wishes/conversion.py": "the user's source, as an absolute path",
    "run/begun.py": "Snakemake's targets, which it touches, and their times",
    "run/execute.py": "the log of Snakemake",
    "run/failure.py": "the logs of Snakemake and of jobs",
    "run/profiles.py": "profiles of Snakemake",
    "run/progress.py": "Snakemake's targets of tasks",
    "run/targets.py": "Snakemake's targets",
    "run/warm.py": "the null device",
    "run/workflow_files.py": "the workflow's own files",
    "runs/run.py": "Snakemake's target of the upload, which holds where the dataset is",
    "runs/token_handover.py": "a file in memory that has no name",
    "server/http/token.py": "the file with the user's token",
}
"""Modules that touch files which are neither in a dataset nor in its state."""

TO_DO = {}
"""Calls that still bypass the places; the numbers may only become smaller."""

MAKES_PLACES = {
    "formats/__init__.py": "an array at a path that the user gives",
    "formats/foreign.py": "an array at a path that the user gives",
    "stored/places.py": "makes all places of datasets and their states",
}
"""Modules outside of `storage` that make places of the disk; others take them from `Locations`, or from `place_at` for a path."""

APPENDS = {
    "cluster/kubernetes/backend.py": "the log of a job, to which its shell appends too",
    "cluster/local_cluster.py": "the log of a job of the test",
    "run/warm.py": "Snakemake's log, to which this process's descriptor and those of Snakemake's shells append",
}
"""Modules outside of `storage` that append to files, which are those of the host."""

OF_PATHS = {
    "exists", "is_dir", "is_file", "is_symlink", "is_mount", "iterdir", "glob", "rglob", "read_bytes", "read_text", "stat", "lstat",
    "open", "readlink", "resolve", "samefile",
}  # fmt: skip
OF_OS = {"access", "stat", "lstat", "listdir", "scandir", "open", "readlink", "walk", "fstat", "pread", "preadv", "statvfs"}
OF_OS_PATH = {"exists", "lexists", "isdir", "isfile", "islink", "realpath", "getsize", "getmtime", "samefile"}


def accesses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the calls that ask a file system for something: line and a name for it."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id == "open":
            yield node.lineno, "open"
        if not isinstance(node.func, ast.Attribute):
            continue
        owner, name = ast.unparse(node.func.value), node.func.attr
        if owner == "os" and name in OF_OS:
            yield node.lineno, f"os.{name}"
        elif owner == "os.path" and name in OF_OS_PATH:
            yield node.lineno, f"os.path.{name}"
        elif name in OF_PATHS and owner != "os" and not _is_no_path(owner):
            yield node.lineno, name


def _is_no_path(owner: str) -> bool:
    """True if a call's owner is a class or an object with a method of that name, or a place."""
    last = owner.split(".")[-1]
    known = ("self", "cls", "place", "properties_file", "gzip", "_array")
    return last[:1].isupper() or last in known or last.endswith("_place") or last.startswith("super(")


def found() -> dict[str, list[str]]:
    calls: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith("storage/"):
            for line, what in accesses(ast.parse(path.read_text())):
                calls.setdefault(name, []).append(f"{name}:{line}: {what}")
    return calls


def test_datasets_are_reached_through_places() -> None:
    calls = found()
    new = {name: where for name, where in calls.items() if name not in OTHER_FILES and len(where) > TO_DO.get(name, 0)}
    assert not new, "go through a Place, or say here why the files are not those of a dataset"


def test_the_list_is_no_longer_than_it_must_be() -> None:
    calls = found()
    assert {name: count for name, count in TO_DO.items() if len(calls.get(name, [])) != count} == {}, "the number is smaller now"
    assert set(OTHER_FILES) <= set(calls), "an exception that is no longer needed"
    assert not set(OTHER_FILES) & set(TO_DO)


def test_places_of_the_disk_are_made_in_one_spot() -> None:
    """So that another kind of place can be made there."""
    makers = set()
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        calls = [node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        if not name.startswith("storage/") and {ast.unparse(call) for call in calls} & {"Local", "as_place", "object_at"}:
            makers.add(name)
    assert makers == set(MAKES_PLACES)


def test_only_storage_appends() -> None:
    """Other places than disks cannot; a growing log of a dataset's state is a series of notes."""
    calls = re.compile(r"\bdisk\.(open_append\b|note\(.*\badd=True)|\bO_APPEND\b")
    found = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if calls.search(path.read_text())}
    assert {name for name in found if not name.startswith("storage/")} == set(APPENDS)


def test_the_check_sees_what_it_is_for() -> None:
    text = """
path.exists(); os.path.isdir(path); os.scandir(path); open(path); path.open("rb"); (root / "a").resolve(); self.path.stat()
place.open("a"); Dataset.open(path); os.path.join("a", "b"); text.replace("a", "b"); self.place.names(); cls.open(path)
"""
    assert [what for _, what in accesses(ast.parse(text))] == [
        "exists", "os.path.isdir", "os.scandir", "open", "open", "resolve", "stat",
    ]  # fmt: skip
