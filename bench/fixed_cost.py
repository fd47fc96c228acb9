"""Measure the fixed cost of a run: a layer of 64³ voxels, beside a bare Snakemake with one job; and many such layers.

    WKPIPE_SNAKEMAKE=…/bin/snakemake python bench/fixed_cost.py [ROUNDS] [--layers N] [--directory DIRECTORY]

WKPIPE_SNAKEMAKE is a Snakemake in an environment that has Snakemake alone; `make bench-fixed-cost` makes it. The commands take turns.
Medians and their ratios are printed; CPU is that of all processes. The last line compares N layers (500) with one. The datasets are in
DIRECTORY, by default that of temporary files.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np

from bench.contenders import environment
from bench.measure import measure
from wkpipe import BoundingBox, Dataset

SNAKEMAKE_VARIABLE = "WKPIPE_SNAKEMAKE"
ROUNDS = 5
LAYERS = 500
SIZE = (64, 64, 64)
SNAKEFILE = """
rule all:
    input:
        "made",


rule make:
    output:
        "made",
    shell:
        "echo 1 > {output}"
"""


@dataclass(frozen=True)
class Case:
    """A command to measure, and the directory that each run works on a copy of."""

    name: str
    command: list[str]
    content: Path
    rounds: int


def make_dataset(path: Path) -> None:
    """Make a dataset with one layer, without wkpipe's own state."""
    layer = Dataset(path, voxel_size=(11, 11, 25)).add_layer("color", "color", dtype="uint8", bounding_box=BoundingBox((0, 0, 0), SIZE))
    layer.add_mag(1).write(np.random.default_rng(0).integers(0, 255, SIZE, dtype=np.uint8))
    shutil.rmtree(path / ".wkpipe")


def multiply(one: Path, path: Path, layers: int = LAYERS) -> None:
    """Copy a dataset with one layer to one that has it many times, under different names."""
    names = [f"color_{number}" for number in range(layers)]
    for name in names:
        shutil.copytree(one / "color", path / name)
    shutil.copy(one / "zarr.json", path)
    properties = json.loads((one / "datasource-properties.json").read_text())
    text = json.dumps(properties["dataLayers"][0])
    # Its name is also the category, and a part of the paths of its mags.
    properties["dataLayers"] = [json.loads(text.replace("color", name)) | {"category": "color"} for name in names]
    (path / "datasource-properties.json").write_text(json.dumps(properties))


def main(rounds: int, layers: int, where: Path | None) -> None:
    """Measure all cases in turn and print a table."""
    with tempfile.TemporaryDirectory(prefix="wkpipe-bench-", dir=where) as directory:
        root = Path(directory)
        for name in ("one", "many", "bare"):
            (root / name).mkdir()
        make_dataset(root / "one" / "dataset")
        multiply(root / "one" / "dataset", root / "many" / "dataset", layers)
        (root / "bare" / "Snakefile").write_text(SNAKEFILE)
        wkpipe = [sys.executable, "-m", "wkpipe", "downsample", "dataset", "--jobs", "2", "--quiet"]
        cases = [Case("one layer", wkpipe, root / "one", rounds), Case(f"{layers} layers", wkpipe, root / "many", max(1, rounds // 3))]
        if snakemake := os.environ.get(SNAKEMAKE_VARIABLE):
            cases.insert(0, Case("bare Snakemake, one job", [snakemake, "--cores", "2"], root / "bare", rounds))
        found: dict[str, list[tuple[float, float]]] = {case.name: [] for case in cases}
        for number in range(rounds + 1):  # the first round does not count
            for case in cases:
                if number <= case.rounds:
                    found[case.name].append(run(case, root / "run"))
        report(found)


def run(case: Case, place: Path) -> tuple[float, float]:
    """Run a case on a copy of its directory; return wall clock and CPU in seconds."""
    shutil.copytree(case.content, place)
    measured = measure(case.command, place, environment(), timeout=900, sample=False)
    shutil.rmtree(place)
    if measured.error is not None:
        sys.exit(f"{case.name}: {measured.error}")
    return measured.wall_s - measured.sync_s, measured.cpu_s


def report(found: dict[str, list[tuple[float, float]]]) -> None:
    """Print the medians, and their ratios to those of the first case, as Markdown."""
    medians = {name: [statistics.median(values) for values in zip(*(runs[1:] or runs), strict=True)] for name, runs in found.items()}
    (first, (first_wall, first_cpu)), *_ = medians.items()
    print(f"| case | wall s (min–max) | CPU s | wall, relative to {first} | CPU |\n|---|---|---|---|---|")
    for name, (wall, cpu) in medians.items():
        walls = [run[0] for run in found[name][1:] or found[name]]
        print(f"| {name} | {wall:.2f} ({min(walls):.2f}–{max(walls):.2f}) | {cpu:.2f} | {wall / first_wall:.2f} | {cpu / first_cpu:.2f} |")
    *_, (one, (one_wall, one_cpu)), (many, (wall, cpu)) = medians.items()
    print(f"\n{many} take {wall / one_wall:.2f} times the wall clock and {cpu / one_cpu:.2f} times the CPU of {one}")
    print(f"load average: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", type=int, nargs="?", default=ROUNDS)
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--directory", type=Path)
    given = parser.parse_args()
    main(given.rounds, given.layers, given.directory)
