"""Compile the native engine: ``python wkpipe/native/build.py [DIRECTORY]``. Needs only the standard library, and a C compiler.

``CC`` names the compiler, ``CFLAGS`` more options. The library is plain C without Python's headers, so one serves every Python.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = ("engine.c", "codecs.h", "kernels.h", "reduce.h")
NAME = "_engine.so"
_FLAGS = ("-std=gnu11", "-O3", "-fPIC", "-shared", "-fvisibility=default", "-Wl,-s")


def source_digest(directory: Path) -> str:
    """Return the digest of the sources in a directory. The library carries it, so that one of other sources is not used."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((directory / name).read_bytes())
    return digest.hexdigest()


def compiler() -> list[str] | None:
    """Return the command of the C compiler; None if there is none."""
    named = shlex.split(os.environ.get("CC", ""))
    found = [shutil.which(name) for name in (named[0] if named else "cc", *(() if named else ("gcc", "clang")))]
    path = next((path for path in found if path), None)
    return [path, *named[1:]] if path else None


def build(source: Path, target: Path, *more: str) -> Path:
    """Compile the sources of a directory into another one, and return the library.

    It gets its name when it is whole: a process that has loaded an older one keeps that.

    Raises:
        OSError, RuntimeError: there is no compiler, or it fails; the message says why.
    """
    command = compiler()
    if command is None:
        raise RuntimeError("there is no C compiler")
    library, unfinished = target / NAME, target / f"{NAME}.{os.getpid()}"
    define = f'-DWKPIPE_SOURCE="{source_digest(source)}"'
    options = [*_FLAGS, *shlex.split(os.environ.get("CFLAGS", "")), *more, define]
    done = subprocess.run([*command, *options, "-o", str(unfinished), str(source / SOURCES[0])], capture_output=True, text=True)
    if done.returncode:
        unfinished.unlink(missing_ok=True)
        raise RuntimeError(f"{command[0]} fails: {done.stderr.strip()[-2000:]}")
    unfinished.replace(library)
    return library


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    print(build(here, Path(sys.argv[1]) if len(sys.argv) > 1 else here))
