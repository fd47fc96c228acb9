"""wkpipe as a module of another workflow, with Snakemake's default triggers and no profile: rules depend on published markers."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import tifffile

from tests.steps.helpers import tree
from tests.workflow.workflow_helpers import REPOSITORY, convert_command, data_files, kill_tree, run, snakemake_command, write_stack
from wkpipe.stored.lease import DatasetLease
from wkpipe.stored.locations import Locations

pytestmark = pytest.mark.sampled(every=6)

OUTER = """
module one:
    snakefile: "{root}/Snakefile"
    config: {{"source": "images/em", "target": "one", "voxel_size": [11, 11, 25], "shard_shape": [64, 64, 64]}}
    prefix: "results"

use rule * from one as one_*

module two:
    snakefile: "{root}/workflow/Snakefile"
    config: {{"source": "images/labels", "target": "two", "voxel_size": [11, 11, 25], "shard_shape": [64, 64, 64]}}

use rule * from two as two_*

use rule downsample from two as two_downsample with:
    priority: 1

rule all:
    default_target: True
    input: "em.txt", "both.txt"

rule of_em:
    input: one.published("em")
    output: "em.txt"
    log: "em.log"
    shell: "echo em >> ran; cp {{input}} {{output}}"

rule of_both:
    input: one.published("em"), two.published("labels")
    output: "both.txt"
    log: "both.log"
    run:
        from pathlib import Path

        with Path("ran").open("a") as file:
            print("both", file=file)
        Path(output[0]).write_bytes(b"".join(Path(path).read_bytes() for path in input))

onstart:
    print("outer start")

onsuccess:
    print("outer success")

onerror:
    print("outer error")
"""


@dataclass
class Outer:
    """A workflow in its own directory that uses wkpipe's workflow as modules."""

    path: Path

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]

    def snakemake(self, *arguments: str, code: int = 0) -> str:
        environment = {key: value for key, value in os.environ.items() if key != "SNAKEMAKE_PROFILE"}
        done = subprocess.run(self.command(*arguments), cwd=self.path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def ran(self) -> list[str]:
        """The rules that have run since the last call."""
        file = self.path / "ran"
        found = sorted(file.read_text().split()) if file.exists() else []
        file.unlink(missing_ok=True)
        return found

    def marker(self, dataset: str, layer: str) -> Path:
        return self.path / dataset / ".wkpipe" / "published" / f"{layer}.json"

    def change_image(self) -> None:
        file = self.path / "images" / "em" / "3.tif"
        image = tifffile.imread(file)
        image[:9] = 255 - image[:9]
        tifffile.imwrite(file, image)

    def without_snakemake(self) -> dict[str, tuple[int, int, int]]:
        """Return the files in the directory, without Snakemake's own."""
        own = (str(self.path / ".snakemake"), str(self.path / "__pycache__"))
        return {name: found for name, found in tree(self.path).items() if not name.startswith(own) and name != str(self.path)}


@pytest.fixture
def outer(tmp_path: Path) -> Outer:
    write_stack(tmp_path / "images", (40, 60, 70))
    (tmp_path / "Snakefile").write_text(OUTER.format(root=REPOSITORY))
    return Outer(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Outer:
    """The workflow after one run; tests that change it make their own."""
    path = tmp_path_factory.mktemp("finished")
    write_stack(path / "images", (40, 60, 70))
    (path / "Snakefile").write_text(OUTER.format(root=REPOSITORY))
    outer = Outer(path)
    outer.snakemake()
    return outer


def planned(output: str) -> set[str]:
    """Return the rules that a dry run would run."""
    return set(re.findall(r"^(\w+) +\d+$", output, re.MULTILINE)) - {"total", "all"}


def test_rules_run_once_and_again_after_a_real_change(outer: Outer) -> None:
    before = outer.without_snakemake()
    dry = outer.snakemake("-n")
    assert {"one_begin", "one_publish", "two_publish", "of_em", "of_both"} <= planned(dry)
    assert outer.without_snakemake() == before, "a dry run writes nothing"

    output = outer.snakemake()
    assert "outer start" in output
    assert "outer success" in output
    assert outer.ran == ["both", "em"]
    assert not list(outer.path.glob("one/.wkpipe/locks/run.lease")), "the lease is released"
    assert not (outer.path / "results").exists()
    for name, layer in (("one", "em"), ("two", "labels")):
        plain = outer.path / f"plain-{name}"
        command = convert_command(outer.path / "images" / layer, plain, "--shard-shape", "64,64,64", "--quiet")
        subprocess.run(command, check=True, capture_output=True)
        assert data_files(outer.path / name) == data_files(plain)
        assert (plain / ".wkpipe" / "published" / f"{layer}.json").read_bytes() == outer.marker(name, layer).read_bytes()

    before = outer.without_snakemake()
    for arguments in ([], ["-n"], ["--rerun-triggers", "mtime"]):
        assert "Nothing to be done" in outer.snakemake(*arguments)
    assert outer.without_snakemake() == before
    assert outer.ran == []

    marker = outer.marker("one", "em").read_bytes()
    outer.change_image()
    before = outer.without_snakemake()
    assert planned(outer.snakemake("-n")) == {"one_begin", "one_convert", "one_ready", "one_publish", "of_em", "of_both"}
    assert outer.without_snakemake() == before
    outer.snakemake()
    assert outer.ran == ["both", "em"]
    assert outer.marker("one", "em").read_bytes() != marker
    assert (outer.path / "em.txt").read_bytes() == outer.marker("one", "em").read_bytes()
    outer.snakemake()
    assert outer.ran == []


@pytest.mark.parametrize("records", ["kept", "gone"])
def test_changes_are_seen_by_mtimes_alone(outer: Outer, records: str) -> None:
    """For any triggers that the user chooses, and even if Snakemake has no records."""
    outer.snakemake("em.txt")
    assert outer.ran == ["em"]
    outer.change_image()
    if records == "gone":
        subprocess.run(["rm", "-r", outer.path / ".snakemake"], check=True)
    outer.snakemake("--rerun-triggers", "mtime", "--", "em.txt")
    assert outer.ran == ["em"]
    outer.snakemake("--rerun-triggers", "mtime", "--", "em.txt")
    assert outer.ran == []


def test_what_wkpipe_itself_changes_is_seen(outer: Outer) -> None:
    outer.snakemake("em.txt")
    assert outer.ran == ["em"]
    command = convert_command(outer.path / "images" / "em", outer.path / "one", "--shard-shape", "64,64,64", "--quiet")
    subprocess.run(command, check=True, capture_output=True)
    outer.snakemake("em.txt")
    assert outer.ran == []
    outer.change_image()
    subprocess.run(command, check=True, capture_output=True)
    outer.snakemake("em.txt")
    assert outer.ran == ["em"]
    outer.snakemake("em.txt")
    assert outer.ran == []


def test_unchanged_data_leave_the_marker(outer: Outer) -> None:
    outer.snakemake("em.txt")
    marker = outer.marker("one", "em")
    before = (marker.read_bytes(), marker.stat().st_mtime_ns)
    shard = next(path for path in (outer.path / "one" / "em" / "1" / "c").rglob("*") if path.is_file())
    os.utime(shard)
    assert "one_prove" in planned(outer.snakemake("-n", "em.txt"))
    outer.snakemake("em.txt")
    assert (marker.read_bytes(), marker.stat().st_mtime_ns) == before
    assert outer.ran == ["em"] * 2, "Snakemake cannot know in advance that the shard is unchanged"
    assert "Nothing to be done" in outer.snakemake("em.txt")
    outer.snakemake("--forceall", "em.txt")  # makes a marker again without a task
    assert marker.read_bytes() == before[0]
    assert "Nothing to be done" in outer.snakemake("em.txt")


def test_a_deleted_or_edited_marker_is_written_again(outer: Outer) -> None:
    outer.snakemake("em.txt")
    marker = outer.marker("one", "em")
    content = marker.read_bytes()
    for harm in (marker.unlink, lambda: marker.write_bytes(b"{}")):
        harm()
        outer.snakemake("em.txt")
        assert marker.read_bytes() == content
        assert "Nothing to be done" in outer.snakemake("em.txt")


def test_touching_does_no_work(outer: Outer) -> None:
    outer.snakemake("em.txt")
    content = outer.marker("one", "em").read_bytes()
    outer.change_image()
    outer.snakemake("--touch", "em.txt")
    assert outer.marker("one", "em").read_bytes() == content
    assert "one_convert" in planned(outer.snakemake("-n", "em.txt"))


def test_a_finished_dataset_is_shown(finished: Outer) -> None:
    summary = finished.snakemake("--summary")
    for dataset, layer in (("one", "em"), ("two", "labels")):
        (line,) = [line for line in summary.splitlines() if line.startswith(f"{finished.marker(dataset, layer)}\t")]
        assert f"\t{dataset}_publish\t" in line
        assert "\tno update" in line
    graph = finished.snakemake("--dag")
    assert {"one_publish", "two_publish", "of_em", "of_both"} <= set(re.findall(r'label = "(\w+)', graph))
    output = finished.snakemake("--report", "report.html")
    assert "Missing metadata" not in output
    report = (finished.path / "report.html").read_text()
    rules = re.findall(r'"rule": "(\w+)"', report)
    times = re.findall(r'"runtime": [\d.e-]+', report)
    assert {"one_publish", "two_publish", "of_em", "of_both"} <= set(rules), report[:2000]
    assert len(times) >= 4


def test_the_workflow_alone_is_shown_too(tmp_path: Path) -> None:
    write_stack(tmp_path / "images", (20, 30, 30))
    command = snakemake_command(tmp_path / "images", tmp_path / "dataset")
    plain = [argument for argument in command if argument not in ("--profile", str(REPOSITORY / "profiles" / "multiprocessing"))]

    def snakemake(*more: str) -> str:
        done = subprocess.run([*plain, "--cores", "2", *more], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    snakemake()
    assert "Nothing to be done" in snakemake()
    assert snakemake("--summary").count("\tpublish\t") == 2
    assert snakemake("--dag").count("publish") == 2
    snakemake("--report", "report.html")
    assert set(re.findall(r'"rule": "(\w+)"', (tmp_path / "report.html").read_text())) == {"publish", "all"}


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda text: text.replace('"target": "two"', '"target": "one/../one"'), ["two modules", "one"]),
        (lambda text: text.replace('one.published("em")', 'one.published("labels")'), ["no layer 'labels'", "choose one of: em"]),
        (lambda text: text.replace("shard_shape", "shard_shap"), ["shard_shap"]),
    ],
    ids=["one dataset", "no layer", "config"],
)
def test_what_cannot_be_is_one_line(outer: Outer, change: Callable[[str], str], words: list[str]) -> None:
    snakefile = outer.path / "Snakefile"
    snakefile.write_text(change(snakefile.read_text()))
    output = outer.snakemake("-n", code=2)
    accounts = re.compile(r"(files|pages), all used$| slices?, .* to ")  # of the module that is planned first
    lines = [line for line in output.splitlines() if line.startswith("wkpipe: ") and not accounts.search(line)]
    assert len(lines) == 1, lines
    (line,) = lines
    assert all(word in line for word in words)


def test_a_dataset_in_use_fails_its_own_part_alone(outer: Outer) -> None:
    """The job `begin` fails; jobs that do not need this dataset still run, and hooks stay the user's."""
    outer.snakemake("em.txt")
    outer.change_image()
    two = outer.marker("two", "labels")
    with DatasetLease(Locations.of(outer.path / "one")):
        output = outer.snakemake("--keep-going", "em.txt", str(two), code=1)
    assert output.splitlines()[-1].startswith("wkpipe: ")
    assert "is being worked on by" in output.splitlines()[-1]
    assert "outer error" in output
    assert two.exists()
    assert outer.ran == ["em"]
    outer.snakemake("em.txt")
    assert outer.ran == ["em"]


def test_killed_and_resumed(outer: Outer) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "SNAKEMAKE_PROFILE"}
    process = psutil.Popen(outer.command(), cwd=outer.path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    shards = outer.path / "one" / "em"
    while process.poll() is None and not any(path.is_file() for path in shards.rglob("c/*/*/*/*")):
        time.sleep(0.005)
    kill_tree(process)
    outer.snakemake("--unlock")
    outer.snakemake("--rerun-incomplete")
    assert outer.ran == ["both", "em"]
    assert "Nothing to be done" in outer.snakemake()
    plain = outer.path / "plain"
    assert run("convert", outer.path / "images" / "em", plain, "--voxel-size", "11,11,25", "--shard-shape", "64,64,64").returncode == 0
    assert data_files(outer.path / "one") == data_files(plain)


def test_the_example_of_the_documentation(tmp_path: Path) -> None:
    text = (REPOSITORY / "docs" / "snakemake.md").read_text()
    (tmp_path / "Snakefile").write_text(text.partition("```python\n")[2].partition("```")[0])
    write_stack(tmp_path / "images", (40, 60, 70))
    (tmp_path / "images" / "em").rename(tmp_path / "slices")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    def snakemake(*arguments: str) -> str:
        command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    snakemake()
    assert 120 < float((tmp_path / "mean.txt").read_text()) < 135
    assert "Nothing to be done" in snakemake()
    os.utime(tmp_path / "slices" / "3.tif")
    assert "measure" in planned(snakemake("-n"))
