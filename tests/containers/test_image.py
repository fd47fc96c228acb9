"""The image: its packages fit wkpipe, and it can be built again byte by byte."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from containers.apt import KEYRING
from containers.cache import CACHE


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_packages_of_the_image_are_what_wkpipe_requires(root: Path) -> None:
    lines = (root / "containers" / "requirements.txt").read_text().splitlines()
    pins = {_normal(name): version for name, _, version in (line.partition("==") for line in lines if not line.startswith("#"))}
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(text) for text in [*project["dependencies"], *project["optional-dependencies"]["kubernetes"]]]
    unmet = [str(requirement) for requirement in wanted if not requirement.specifier.contains(pins.get(_normal(requirement.name), "0"))]
    assert not unmet, "make image-lock"


@pytest.mark.slow
def test_two_builds_give_the_same_bytes(root: Path, tmp_path: Path) -> None:
    """Nothing is taken from the cache of layers; place, umask, time zone and the seed of hashes differ."""
    if not shutil.which("apt-get") or not KEYRING.exists():
        pytest.skip("the image is built from Debian's packages: apt-get or debian-archive-keyring is missing")
    pip_cache = os.environ.get("PIP_CACHE_DIR", str(CACHE.parent / "pip"))
    for name, mask, zone in (("first", 0o022, "UTC"), ("another-one", 0o077, "Asia/Tokyo")):
        directory = tmp_path / name
        (directory / "tmp").mkdir(parents=True)
        environment = {
            "XDG_CACHE_HOME": directory,
            "TMPDIR": directory / "tmp",
            "TZ": zone,
            "PYTHONHASHSEED": str(mask),
            "PIP_CACHE_DIR": pip_cache,
        }
        command = [sys.executable, "-m", "containers.build", "--output", str(directory / "image")]
        done = subprocess.run(
            command,
            cwd=root,
            env=os.environ | {key: str(value) for key, value in environment.items()},
            umask=mask,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        shutil.rmtree(directory / "wkpipe")
    first, second = (sorted((tmp_path / name / "image").iterdir()) for name in ("first", "another-one"))
    assert (
        [path.name for path in first]
        == [path.name for path in second]
        == ["VERSION", *(f"{name}.tar" for name in ("debian", "python", "wkpipe.oci", "wkpipe"))]
    )
    for one, other in zip(first, second, strict=True):
        assert subprocess.run(["cmp", one, other], check=False).returncode == 0, one.name
