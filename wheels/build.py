"""``python -m wheels.build [DIRECTORY]``: build the wheels of all platforms on this host, check them, and put them into a directory.

Zig's C compiler (the package ziglang) compiles the native engine for each of them. Beside them is the wheel without it, which serves
everywhere else.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from wheels.check import check
from wheels.platforms import PLATFORMS, Platform

ROOT = Path(__file__).resolve().parents[1]


def compiler(platform: Platform) -> list[str]:
    """Return the command of the C compiler for a platform."""
    return [sys.executable, "-m", "ziglang", "cc", "-target", platform.target]


def build(platform: Platform | None, target: Path) -> Path:
    """Build the wheel of a platform, None for the one without native engine, and return it.

    Raises
    ------
    RuntimeError
        it cannot be built.
    """
    if platform is None:
        environment = {"WKPIPE_BUILD_NATIVE": "0"}
    else:
        command = shlex.join(compiler(platform))
        environment = {"WKPIPE_BUILD_NATIVE": "1", "WKPIPE_BUILD_PLATFORM": platform.tag, "CC": command, "CFLAGS": ""}
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        hatch = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", scratch]
        done = subprocess.run(hatch, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        (wheel,) = Path(scratch).glob("*.whl")
        return wheel.replace(target / wheel.name)


def main(directory: str = "dist") -> None:
    """Build and check all wheels, and print their paths."""
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    for platform in (*PLATFORMS, None):
        wheel = build(platform, target)
        check(wheel, platform)
        print(wheel)


if __name__ == "__main__":
    main(*sys.argv[1:2])
