"""A dataset from somebody else is only data: nothing in it is executed, and nothing outside it is written, renamed or deleted.

These tests run whole commands, as users do. tests/torture/test_hostile_state.py tampers with the state in many ways.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture.fuzz_seeds import make_dataset, write_images
from tests.torture.test_hostile_state import contents
from tests.workflow.workflow_helpers import REPOSITORY, run

LINE = "import os; open({!r}, 'a').write(f'{{__name__}} in process {{os.getpid()}}, started in {{os.getcwd()}}\\n')\n"
MODULES = ("wkpipe", "numpy", "snakemake", "json", "sitecustomize", "usercustomize", "tensorstore", "google_crc32c", "httpx")


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sent")
    write_images(root / "images")
    make_dataset(root / "images" / "stack", root / "dataset", shard_shape=16)
    return root


@pytest.fixture
def dataset(seed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(seed / "dataset", tmp_path / "dataset"))


def forget_mag(dataset: Path, mag: int) -> None:
    """Remove a mag from the properties and from the disk, so that there is something to do."""
    file = dataset / "datasource-properties.json"
    values = json.loads(file.read_text())
    layer = values["dataLayers"][0]
    layer["mags"] = [entry for entry in layer["mags"] if entry["mag"] != [mag] * 3]
    file.write_text(json.dumps(values))
    shutil.rmtree(dataset / "stack" / str(mag))


# -- code -----------------------------------------------------------------------------------------------------------


def plant_code(dataset: Path, said: Path) -> None:
    """Put modules wherever a process starts or may start."""
    for place in ("", ".wkpipe", ".wkpipe/runs", ".wkpipe/runs/current", ".wkpipe/.snakemake/scripts", ".wkpipe/tmp", "stack"):
        for module in MODULES:
            package = dataset / place / module
            package.mkdir(parents=True, exist_ok=True)
            (package / "__init__.py").write_text(LINE.format(str(said)))
            (dataset / place / f"{module}.pth").write_text(LINE.format(str(said)))
        for name in ("Snakefile", "setup.py", "conftest.py"):
            (dataset / place / name).write_text(LINE.format(str(said)))
    profile = dataset / ".wkpipe" / "profiles" / "default"
    profile.mkdir(parents=True)
    (profile / "config.yaml").write_text(f"snakefile: {dataset}/Snakefile\n")


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("start", ["", ".wkpipe", ".wkpipe/runs"])
def test_no_code_of_a_dataset_is_run(dataset: Path, seed: Path, tmp_path: Path, start: str) -> None:
    said = tmp_path / "PWNED"
    plant_code(dataset, said)
    command = [str(Path(sys.executable).parent / "wkpipe"), "downsample", str(dataset), "--coarsest-mag", "8", "--quiet", "--jobs", "2"]
    done = subprocess.run(command, cwd=dataset / start, capture_output=True, text=True, check=False)
    assert not said.exists(), said.read_text()
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_no_code_of_a_dataset_is_run_by_other_commands(dataset: Path, seed: Path, tmp_path: Path) -> None:
    said = tmp_path / "PWNED"
    plant_code(dataset, said)
    forget_mag(dataset, 4)
    shard = next(path for path in sorted((dataset / "stack" / "1" / "c").rglob("*")) if path.is_file())
    shard.write_bytes(b"")
    convert = ["convert", seed / "images" / "stack", dataset, "--voxel-size", "10,10,10", "--category", "color"]
    for command in (["verify", dataset, "--repair"], [*convert, "--chunk-shape", "8", "--shard-shape", "16"], ["downsample", dataset]):
        run(*command, "--jobs", "1")
        assert not said.exists(), f"{command}: {said.read_text()}"


@pytest.mark.slow
def test_no_code_of_a_dataset_is_run_by_plain_snakemake(dataset: Path, tmp_path: Path) -> None:
    said = tmp_path / "PWNED"
    plant_code(dataset, said)
    (dataset / ".wkpipe" / "profiles").rename(dataset / "unused")  # Snakemake itself looks there
    for name in ("Snakefile", "setup.py", "conftest.py"):
        (dataset / ".wkpipe" / name).unlink()
    command = [
        *(str(Path(sys.executable).parent / "snakemake"), "--snakefile", str(REPOSITORY / "Snakefile")),
        *("--profile", str(REPOSITORY / "profiles" / "multiprocessing"), "--directory", str(dataset / ".wkpipe")),
        *("--config", f"target={dataset}", "coarsest_mag=8"),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert not said.exists(), said.read_text()
    assert done.returncode == 0, done.stderr


# -- links ----------------------------------------------------------------------------------------------------------


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("place", ["tmp/x", "runs/aaaaaaaaaaaa", "tmp/a/b/x", "runs/a/jobs", "tmp/x.tmp"])
def test_a_link_among_what_is_cleaned_up_empties_nothing(dataset: Path, tmp_path: Path, place: str) -> None:
    victim = tmp_path / "victim"
    (victim / "sub").mkdir(parents=True)
    (victim / "sub" / "thesis.txt").write_text("precious")
    before = contents(victim)
    link = dataset / ".wkpipe" / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(victim)
    done = run("downsample", dataset, "--coarsest-mag", "8", "--quiet", "--jobs", "1")
    assert contents(victim) == before
    assert done.returncode == 0, done.stderr
    assert place == "tmp/x.tmp" or not link.is_symlink(), "the link itself is a leftover"
    assert (dataset / "stack" / "8").is_dir()


@pytest.mark.parametrize(
    "place", ["locks/epoch", "ledger/stack/8", "ledger/stack/1/recipe.json", "copies/x", "conversion.json", "uploads/a/b"]
)
@pytest.mark.parametrize("target", ["victim", "victim/file", "victim/new"])
def test_a_link_in_the_state_is_refused_in_one_line(dataset: Path, tmp_path: Path, place: str, target: str) -> None:
    from wkpipe.cli.app import run_app

    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("precious")
    before = contents(victim)
    link = dataset / ".wkpipe" / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(tmp_path / target)
    for command in (["downsample", "--coarsest-mag", "8"], ["info"], ["verify"], ["verify", "--repair"], ["upload", "--status"]):
        assert run_app([command[0], str(dataset), *command[1:]]) == 3, command
    assert contents(victim) == before


def test_a_pipe_in_the_state_is_refused(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from wkpipe.cli.app import run_app

    os.mkfifo(dataset / ".wkpipe" / "copies" / "pipe")
    assert run_app(["downsample", str(dataset), "--coarsest-mag", "8"]) == 3
    assert "copies/pipe is neither a file nor a directory, so it is not wkpipe's; remove it" in capsys.readouterr().err


def state_files(dataset: Path) -> list[str]:
    return sorted(path.relative_to(dataset).as_posix() for path in (dataset / ".wkpipe").rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", ["huge", "directory"])
def test_a_state_file_that_cannot_be_one_is_named_in_one_line(dataset: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every file of the state and the properties is replaced in turn; each command reports it, or does not need it."""
    from wkpipe.cli.app import run_app

    files = [*state_files(dataset), "datasource-properties.json", "zarr.json", "stack/1/zarr.json"]
    assert ".wkpipe/copies/conversion.json" in files
    assert any(name.startswith(".wkpipe/published/") for name in files)
    for name in files:
        path = dataset / name
        kept = path.rename(path.with_name("kept"))
        if kind == "huge":
            with path.open("wb") as file:
                file.truncate(1 << 36)
        else:
            path.mkdir()
        for command in (["verify", "--jobs", "1"], ["info"], ["downsample", "--coarsest-mag", "8", "--dry-run"]):
            code = run_app([command[0], str(dataset), *command[1:]])
            said = capsys.readouterr().err
            assert code in (0, 3, 4), (name, command, code, said)
            assert "defect" not in said, (name, command, said)
            assert "Traceback" not in said, (name, command, said)
        if kind == "huge":
            path.unlink()
        else:
            shutil.rmtree(path)
        kept.rename(path)
    assert run_app(["verify", str(dataset), "--jobs", "1"]) == 0


# -- notes that name directories ------------------------------------------------------------------------------------

NEW = {"mag": [2, 2, 2], "path": "./stack/2"}


@pytest.mark.parametrize(
    "note",
    [
        {"old": [[1, 1, 1]], "directories": ["1"], "new": [NEW]},
        {"old": [[4, 4, 4]], "directories": ["1"], "new": [NEW]},
        {"old": [[4, 4, 4]], "directories": ["4"], "new": [NEW]},
        {"old": [[4, 4, 4]], "directories": [], "new": [NEW]},
        {"old": [[4, 4, 4]], "directories": ["../../victim"], "new": [NEW]},
        {"old": [[4, 4, 4]], "directories": [".."], "new": [NEW]},
        {"old": [[4, 4, 4]], "directories": ["precious"], "new": [NEW]},
        {"old": [[2, 2, 2], [4, 4, 4]], "directories": ["2", "4"], "new": []},
        {"old": [[2, 2, 2]], "directories": ["2"], "new": [{"mag": [2, 2, 2], "path": "../victim"}]},
        {"old": [[2, 2, 2]], "directories": ["2"], "new": [{"mag": [16, 16, 16], "path": "./stack/16"}]},
        {"old": [[2, 2, 1]], "directories": ["2-2-1"], "new": [{"mag": [1, 1, 1], "path": "./stack/1"}]},
    ],
)
def test_a_note_of_a_swap_that_no_run_has_begun(
    dataset: Path, tmp_path: Path, note: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    from wkpipe.cli.app import run_app

    (dataset / "stack" / "precious").mkdir()
    (tmp_path / "victim").mkdir()
    (dataset / ".wkpipe" / "remade" / "stack").mkdir(parents=True)
    (dataset / ".wkpipe" / "remade" / "stack" / "swap.json").write_text(json.dumps(note))
    before = contents(tmp_path)
    for more in ([], ["--overwrite-existing"]):
        assert run_app(["downsample", str(dataset), *more]) == 3
        (line,) = capsys.readouterr().err.splitlines()
        assert "swap.json" in line
    assert contents(tmp_path) == before


def test_remote_convert_deletes_nothing_through_a_link(
    seed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a directory like /tmp, another user may have put a link and the note of an upload where the command looks."""
    from wkpipe.cli import remote_convert
    from wkpipe.cli.app import run_app

    name = "dataset-0123456789.uploading"  # the name follows from source and options, so it can be guessed
    monkeypatch.setattr(remote_convert, "directory_name", lambda *_: name)
    victim = tmp_path / "victim"
    shutil.copytree(seed / "dataset", victim)
    (tmp_path / "work").mkdir()
    command = ["remote-convert", str(seed / "images" / "stack"), "--voxel-size", "1,1,1", "--work-dir", str(tmp_path / "work")]
    (tmp_path / "work" / name).symlink_to(victim)
    (tmp_path / "work" / f"{name}.done").write_text("https://example.org/datasets/1")
    before = contents(victim)
    assert run_app([*command, "--token", "secret"]) == 3
    assert "is a link that leads out" in capsys.readouterr().err
    assert contents(victim) == before
