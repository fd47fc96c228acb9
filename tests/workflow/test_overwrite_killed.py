"""`downsample --overwrite-existing` with a killed process: the old mags or the new ones are there, and the workflow resumes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture.test_workflow_faults import SITE
from tests.workflow.workflow_helpers import REPOSITORY, WKPIPE, data_files, registered_mags, run

TORTURE = REPOSITORY / "tests" / "torture"


def command(way: str, target: Path) -> list[str]:
    if way == "wkpipe":
        return [*WKPIPE, "downsample", str(target), "--interpolation-mode", "nearest", "--overwrite-existing", "--jobs", "2"]
    files = ["--snakefile", str(REPOSITORY / "Snakefile"), "--profile", str(REPOSITORY / "profiles" / "multiprocessing")]
    values = [f"target={target}", "interpolation_mode=nearest", "overwrite_existing=true"]
    return [sys.executable, "-m", "snakemake", *files, "--cores", "2", "--config", *values]


def of_layer(files: dict[str, str], layer: str) -> dict[str, str]:
    return {name: digest for name, digest in files.items() if name.startswith(f"{layer}/") and "/c/" in name}


@pytest.mark.slow
@pytest.mark.torture
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("way", ["wkpipe", "snakemake"])
def test_killed_overwriting_goes_on(way: str, undisturbed: Path, tmp_path: Path) -> None:
    old = data_files(undisturbed)
    whole = tmp_path / "whole" / "dataset"
    shutil.copytree(undisturbed, whole)
    subprocess.run(command(way, whole), cwd=tmp_path, check=True, capture_output=True)
    new, mags = data_files(whole), registered_mags(whole)
    assert new != old
    noted = 0
    # Kill a job while it makes shards, and the publish step at two moments.
    for role, call in (("job", 25), ("publish", 25), ("publish", 50)):
        place = tmp_path / f"{role}{call}"
        for name in ("counters", "site"):
            (place / name).mkdir(parents=True)
        (place / "site" / "sitecustomize.py").write_text(SITE.format(here=str(TORTURE), counters=str(place / "counters")))
        target = place / "dataset"
        shutil.copytree(undisturbed, target)
        search = os.pathsep.join(filter(None, [str(place / "site"), os.environ.get("PYTHONPATH")]))
        environment = os.environ | {"PYTHONPATH": search, "TORTURE_FAULT": f"{role} 0 {call} kill"}
        first = subprocess.run(command(way, target), cwd=place, env=environment, capture_output=True, text=True, check=False)
        assert first.returncode == 1, (role, call, first.stderr)
        found = data_files(target)
        noted += len(list(target.glob(".wkpipe/remade/*/swap.json")))
        for layer, visible in registered_mags(target).items():
            assert visible in (mags[layer], mags[layer][:1])
            if visible == mags[layer]:
                assert of_layer(found, layer) in (of_layer(old, layer), of_layer(new, layer)), (role, call, layer)
        again = subprocess.run(command(way, target), cwd=place, capture_output=True, text=True, check=False)
        assert again.returncode == 0, (role, call, again.stderr)
        assert data_files(target) == new
        assert registered_mags(target) == mags
        assert list(target.glob(".wkpipe/remade/*")) == []
        assert list(target.rglob("*.tmp")) == []
        shutil.rmtree(place)
    assert noted, "no kill fell into a swap"
    sound = run("verify", whole)
    assert sound.returncode == 0, sound.stderr
