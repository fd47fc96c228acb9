"""The layers of Python packages: what wkpipe needs, and wkpipe itself. They are installed for the image's Python by the builder's pip."""

from __future__ import annotations

import configparser
import csv
import io
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from containers.debian_layer import PYTHON, compile_modules
from containers.layers import Layer

SITE = f"usr/local/lib/python{PYTHON}/dist-packages"
NEWEST_GLIBC, OLDEST_GLIBC = 36, 5
"""Debian 12 has glibc 2.36; wheels for older ones run on it."""

COMMANDS = ("wkpipe", "snakemake")
SCRIPT = """\
#!/usr/bin/python3 -P
import sys
from {module} import {function}
sys.exit({function}())
"""
LEFT_OUT = (
    "kubernetes/aio",
    "numpy/**/tests",
    "pandas/tests",
    "pulp/solverdir/cbc/linux/i32",
    "pulp/solverdir/cbc/osx",
    "pulp/solverdir/cbc/win",
)
"""Large directories that nothing needs at run time."""


def make_python(target: Path, system: Path, packages: Sequence[str]) -> None:
    """Write `layer.tar` with packages into a directory; `packages` are arguments for pip, without dependencies."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        site = root / SITE
        _install(site, packages)
        _forget_the_builder(site)
        compile_modules(system, root, [SITE])
        layer = Layer()
        layer.add_tree(root, "")
        for command, script in _scripts(site).items():
            layer.add(f"usr/local/bin/{command}", script.encode(), 0o755)
        layer.write(target / "layer.tar")


def _install(site: Path, packages: Sequence[str]) -> None:
    machine = platform.machine()
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(NEWEST_GLIBC, OLDEST_GLIBC - 1, -1)]
    platforms += [f"manylinux{year}_{machine}" for year in (2014, 2010, 1)]
    platforms += [f"linux_{machine}"]  # wkpipe's own wheel; if this host's libc were too new for its native engine, NumPy does the work
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile", "--target", str(site)]
    command += ["--implementation", "cp", "--python-version", PYTHON, *(f"--platform={name}" for name in platforms)]
    subprocess.run([*command, *packages], check=True)


def _forget_the_builder(site: Path) -> None:
    """Remove what depends on the builder: commands that start its Python, paths, and the lists of these."""
    shutil.rmtree(site / "bin", ignore_errors=True)
    for pattern in LEFT_OUT:
        for path in list(site.glob(pattern)):
            shutil.rmtree(path)
    for record in site.glob("*.dist-info/RECORD"):
        (record.parent / "direct_url.json").unlink(missing_ok=True)
        rows = [row for row in csv.reader(record.open(newline="")) if (site / row[0]).is_file()]
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        record.write_text(text.getvalue())


def _scripts(site: Path) -> dict[str, str]:
    """Return the scripts of those commands that the image is to have."""
    scripts = {}
    for file in sorted(site.glob("*.dist-info/entry_points.txt")):
        entries = configparser.ConfigParser(delimiters=("=",))
        entries.read(file)
        for command, place in entries["console_scripts"].items() if "console_scripts" in entries else ():
            if command in COMMANDS:
                module, _, function = place.partition(":")
                scripts[command] = SCRIPT.format(module=module, function=function)
    return scripts
