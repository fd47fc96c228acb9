"""All changes of a disk go through `wkpipe.storage.disk` and `names`, where the tests of torture can make them fail."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "wkpipe"

SEAM = ("storage/disk.py", "storage/names.py")

ALLOWED = {
    # path below wkpipe, the call: why it need not fail in tests
    ("cli/streams.py", "os.open"): "the null device, in the place of a standard stream that is closed",
    ("run/warm.py", "os.open"): "the null device, in the place of the standard streams",
    ("run/warm.py", "tempfile"): "a directory for a socket, beside no dataset",
    ("storage/opened.py", "os.open"): "for reading",
    ("native/build.py", "shutil"): "finds the compiler when wkpipe is installed",
    ("native/build.py", "unlink"): "the library, when wkpipe is installed",
    ("native/build.py", "Path.replace"): "the library, when wkpipe is installed",
    ("plan/config/schema.py", "write_text"): "the developers' tool that writes the config's schema into the repository",
    ("engine/pool.py", "os.write"): "pipes between the processes of a job",
    ("runs/token_handover.py", "os.write"): "a file in memory that has no name and vanishes with the process",
    ("images/cached.py", "numpy.memmap"): "a file without a name whose space was reserved through the seam; it vanishes with the process",
}

OF_OS = {
    "open", "write", "writev", "pwrite", "pwritev", "truncate", "ftruncate", "posix_fallocate", "sendfile", "copy_file_range",
    "fsync", "fdatasync", "sync", "rename", "renames", "replace", "link", "symlink", "unlink", "remove", "removedirs", "rmdir",
    "mkdir", "makedirs", "mknod", "mkfifo", "utime", "chmod", "fchmod", "chown", "setxattr",
}  # fmt: skip
OF_PATHS = {
    "write_text", "write_bytes", "touch", "mkdir", "unlink", "rmdir", "hardlink_to", "symlink_to", "link_to", "chmod", "lchmod",
}  # fmt: skip
MODULES = {"shutil", "tempfile"}
OF_ARRAYS = {"memmap", "tofile", "save", "savez", "open_memmap"}


def changes(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the calls that change a disk: line and a name for it."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            yield from ((node.lineno, name) for name in names if name.split(".")[0] in MODULES)
            if isinstance(node, ast.ImportFrom) and node.module == "os":
                yield from ((node.lineno, f"os.{alias.name}") for alias in node.names if alias.name in OF_OS)
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Name) and function.id == "open" and _writes(node, 1):
            yield node.lineno, "open"
        if not isinstance(function, ast.Attribute):
            continue
        owner = function.value.id if isinstance(function.value, ast.Name) else ""
        if owner == "os" and function.attr in OF_OS:
            yield node.lineno, f"os.{function.attr}"
        elif owner not in ("os", "disk", "names") and function.attr in OF_PATHS:
            yield node.lineno, function.attr
        elif function.attr in ("replace", "rename") and owner not in ("os", "disk", "names") and len(node.args) == 1 and not node.keywords:
            yield node.lineno, f"Path.{function.attr}"  # that of str has two arguments, those of dataclasses have keywords
        elif owner in ("np", "numpy") and function.attr in OF_ARRAYS:
            yield node.lineno, f"numpy.{function.attr}"
        elif function.attr == "open" and owner not in ("os", "gzip", "place") and _writes(node, 0):
            yield node.lineno, "Path.open"


def _writes(call: ast.Call, position: int) -> bool:
    """True if a call of `open` has a mode that writes."""
    modes = [*call.args[position : position + 1], *(keyword.value for keyword in call.keywords if keyword.arg == "mode")]
    return any(
        isinstance(mode, ast.Constant) and isinstance(mode.value, str) and set(mode.value) & set("wax+") and len(mode.value) < 4
        for mode in modes
    )


def test_only_the_seam_changes_the_disk() -> None:
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name not in SEAM:
            for line, what in changes(ast.parse(path.read_text())):
                found.setdefault((name, what), []).append(line)
    unexpected = {f"{name}:{lines[0]}: {what}" for (name, what), lines in found.items() if (name, what) not in ALLOWED}
    assert not unexpected, f"go through wkpipe.storage.disk, or say here why not: {unexpected}"
    assert set(ALLOWED) <= set(found), "an exception that is no longer needed"


def test_the_check_sees_what_it_is_for() -> None:
    text = """
import shutil, os
from os import rename
def f(path, data):
    os.replace(path, data); path.write_text(data); path.touch(); path.unlink(); open(path, "w"); path.open("ab"); path.rename(data)
    open(path); path.open("rb"); text.replace("a", "b"); dataclasses.replace(path, a=1); os.stat(path); disk.unlink(path)
    np.memmap(path, mode="r+")
"""
    names = [what for _, what in changes(ast.parse(text))]
    assert sorted(names) == sorted(
        ["shutil", "os.rename", "os.replace", "write_text", "touch", "unlink", "open", "Path.open", "Path.rename", "numpy.memmap"]
    )
