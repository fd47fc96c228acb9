"""The layer of Debian: Python, a shell, and the libraries that wheels expect."""

from __future__ import annotations

import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from containers.apt import Apt
from containers.layers import MERGED, Layer

PACKAGES = ("base-files", "bash", "coreutils", "dash", "libgomp1", "libstdc++6", "python3")
PYTHON = "3.11"
"""The version of Python in the release of `containers.apt.SUITE`."""

USERS = """\
root:x:0:0:root:/root:/usr/sbin/nologin
wkpipe:x:65532:65532:wkpipe:/tmp:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
GROUPS = "root:x:0:\nwkpipe:x:65532:\nnogroup:x:65534:\n"


def make_debian(target: Path) -> None:
    """Fill a directory with `layer.tar` and the same files unpacked, as `root`."""
    with tempfile.TemporaryDirectory() as scratch:
        packages = Apt.updated(Path(scratch)).with_dependencies(PACKAGES)
        layer = Layer()
        for name in MERGED:
            layer.add_link(name, f"usr/{name}")
        for package in packages:
            layer.add_package(package)
    layer.add("etc/passwd", USERS.encode())
    layer.add("etc/group", GROUPS.encode())
    layer.add_directory("tmp", 0o1777)
    tar, root = target / "layer.tar", target / "root"
    layer.write(tar)
    with tarfile.open(tar) as file:
        if hasattr(tarfile, "tar_filter"):  # Python 3.11.4 and newer
            file.extraction_filter = tarfile.tar_filter
        file.extractall(root)
    compile_modules(root, root, [f"usr/lib/python{PYTHON}", "usr/lib/python3/dist-packages"])
    for path in sorted(root.rglob("*.pyc")):
        layer.add(path.relative_to(root).as_posix(), path.read_bytes())
    layer.write(tar)


def compile_modules(system: Path, root: Path, directories: Sequence[str]) -> None:
    """Compile the modules in directories of `root` with the Python of an unpacked system, which needs no root rights for this.

    The system in the image is read-only, so that Python could not keep what it compiles. The same sources give the same bytes: one
    process compiles them in order, the seed of hashes is fixed, and no time is recorded.
    """
    (libraries,) = system.glob("usr/lib/*-linux-gnu")
    (loader,) = libraries.glob("ld-linux-*.so.*")
    python = [str(loader), "--library-path", str(libraries), str(system / f"usr/bin/python{PYTHON}"), "-S", "-P", "-B"]
    options = ["-m", "compileall", "-q", "-j", "1", "--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/"]
    subprocess.run(
        [*python, *options, *(str(root / directory) for directory in directories)],
        env={"PYTHONHOME": str(system / "usr"), "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
        stdout=subprocess.DEVNULL,
        check=False,  # some packages carry templates that are no valid modules
    )
