"""`wkpipe remote-convert` from end to end: one command, killed in any phase, resumes and leaves one dataset, on the server only."""

from __future__ import annotations

import contextlib
import itertools
import os
import pty
import re
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.server.workflow.watched import SHARDS, TOKEN, Command, Server, files_of, in_phase, no_token_in, until, waits_to_clean_up
from tests.workflow.workflow_helpers import VOXEL_SIZE, WKPIPE, data_files, kill_tree
from wkpipe.cli.remote_convert import clean_up
from wkpipe.errors import Interrupted, ServerError

pytestmark = pytest.mark.sampled(every=6)


def remote_convert(stack: Path, work: Path, url: str, *more: str) -> Command:
    work.mkdir(exist_ok=True)
    words = [*WKPIPE, "remote-convert", str(stack), "--voxel-size", VOXEL_SIZE, *SHARDS, "--webknossos-url", url, *more]
    return Command(words, work)


def without_its_end(command: Command, tmp_path: Path) -> Command:
    """Return the command without its end, the cleaning up: it is killed before, or there."""
    return replace(command, environment=command.environment | waits_to_clean_up(tmp_path / "kept"))


@pytest.mark.parametrize("strategy", ["multiprocessing", "sequential"])
def test_one_command_makes_a_dataset_on_the_server_and_leaves_nothing_here(
    stack: Path, local: dict[str, str], tmp_path: Path, server: Server, strategy: str
) -> None:
    work = tmp_path / "work"
    command = remote_convert(stack, work, server.url, "--distribution-strategy", strategy)
    code, out, errors = command.run()
    assert code == 0, errors
    assert server.trees() == [local]
    assert f"uploaded: {server.page}" in out
    assert not any(work.iterdir())
    assert any(job.endswith("upload") for job in command.jobs)
    assert len(command.jobs) > 2
    no_token_in(out, errors)


def test_images_that_are_arranged_are_those_of_convert(stack: Path, tmp_path: Path, server: Server) -> None:
    how = ("--mag", "2-2-1", "--topleft", "64,6,3", "--bbox", "20,10,0,100,90,50", "--swap-xy", "--flip-y", "--flip-z")
    target = tmp_path / "local" / "stack"
    subprocess.run(
        [*WKPIPE, "convert", str(stack), str(target), "--voxel-size", VOXEL_SIZE, *SHARDS, *how], check=True, capture_output=True
    )
    code, _, errors = remote_convert(stack, tmp_path / "work", server.url, *how).run()
    assert code == 0, errors
    assert server.trees() == [{name: found for name, found in data_files(target).items() if name.count("/") > 1}]
    (dataset,) = server.wk.datasets
    assert dataset.properties is not None
    boxes = [layer["boundingBox"] for layer in dataset.properties["dataLayers"]]
    assert [(box["topLeft"], box["width"], box["height"], box["depth"]) for box in boxes] == [([64, 6, 3], 180, 200, 50)] * len(boxes)


@pytest.mark.parametrize("phase", ["convert", "downsample", "upload", "finish"])
def test_killed_in_any_phase_the_same_command_goes_on(
    stack: Path, local: dict[str, str], tmp_path: Path, server: Server, phase: str
) -> None:
    work = tmp_path / "work"
    command = remote_convert(stack, work, server.url)
    process = without_its_end(command, tmp_path).start()
    until(process, in_phase(phase, work, server))
    kill_tree(process)
    no_token_in(work, *process.communicate())
    sent = server.chunks
    code, out, errors = command.run()
    assert code == 0, errors
    assert server.trees() == [local]
    # The kill comes a little later than the phase, when the server may have finished.
    assert any(f"{words}: {server.page}" in out for words in ("uploaded", *(["uploaded already"] if phase == "finish" else [])))
    assert server.chunks <= len(local) + 1 + 5  # those on their way when it was killed may come twice
    assert phase not in ("upload", "finish") or sent >= 5
    assert not any(work.iterdir())
    no_token_in(out, errors)


@pytest.mark.parametrize("phase", ["convert", "upload"])
def test_ctrl_c_keeps_the_dataset_and_says_how_to_go_on(
    stack: Path, local: dict[str, str], tmp_path: Path, server: Server, phase: str
) -> None:
    work = tmp_path / "work"
    command = remote_convert(stack, work, server.url)
    process = command.start()
    until(process, in_phase(phase, work, server))
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=500)
    assert process.returncode == Interrupted.exit_code
    (kept,) = work.iterdir()
    assert str(kept.name) in errors
    assert "same command" in errors
    no_token_in(work, out, errors)
    code, out, errors = command.run()
    assert code == 0, errors
    assert server.trees() == [local]
    assert not any(work.iterdir())


def test_killed_while_cleaning_up_it_is_not_uploaded_twice(stack: Path, local: dict[str, str], tmp_path: Path, server: Server) -> None:
    """Kill it as soon as the server reports the dataset as usable, then repeatedly while the dataset is deleted."""
    work = tmp_path / "work"
    command = remote_convert(stack, work, server.url)
    process = without_its_end(command, tmp_path).start()
    until(process, lambda: server.is_done)
    until(process, lambda: bool(list(work.glob("*/.wkpipe/runs/*/upload/*.done"))))
    kill_tree(process)
    assert any(work.iterdir())
    code, out, errors = command.run()
    assert code == 0, errors
    assert "uploaded already" in out
    assert server.page in out
    assert server.trees() == [local]
    assert not any(work.iterdir())


@pytest.mark.parametrize("count", [0, 1, 20, 60])
def test_half_deleted_it_is_deleted_and_not_uploaded_again(
    stack: Path, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Stop it after a number of files were deleted."""
    work = tmp_path / "work"
    command = remote_convert(stack, work, server.url, "--no-downsample")
    process = without_its_end(command, tmp_path).start()
    until(process, lambda: bool(list(work.glob("*/.wkpipe/runs/*/upload/*.done"))))
    kill_tree(process)
    (kept,) = work.iterdir()
    files = files_of(kept, "em/*/c/*/*/*/*")
    left, unlink = itertools.count(count, -1), os.unlink

    def killed(path: Any, **more: Any) -> None:
        if next(left) <= 0:
            raise KeyboardInterrupt
        unlink(path, **more)

    monkeypatch.setattr(os, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        clean_up(kept, server.page)
    monkeypatch.undo()
    # A run that begins at this moment must not find a part of the dataset, and upload that.
    assert not (kept / "datasource-properties.json").exists() or files_of(kept, "em/*/c/*/*/*/*") == files
    code, out, errors = command.run()
    assert code == 0, errors
    assert server.page in out
    assert len(server.trees()) == 1
    assert not any(work.iterdir())


def test_images_that_changed_since_it_was_begun_are_reported_with_the_way_out(stack: Path, tmp_path: Path, server: Server) -> None:
    """Images of another shape are refused because of what was begun; images with a gap are refused by themselves."""
    images, work = Path(shutil.copytree(stack, tmp_path / "images")), tmp_path / "work"
    command = remote_convert(images, work, server.url)
    process = command.start()
    until(process, in_phase("upload", work, server))
    kill_tree(process)
    (kept,) = work.iterdir()
    slices = len(list((images / "em").iterdir()))
    for layer in images.iterdir():
        shutil.copy(layer / "9.tif", layer / f"{slices}.tif")
    code, _, errors = command.run()
    assert code == 3, errors
    assert f"{kept.name}: an earlier run of this command has begun this with other images; delete that directory" in errors
    assert "--overwrite-existing" not in errors
    for layer in images.iterdir():
        (layer / f"{slices}.tif").rename(layer / f"{slices + 1}.tif")
    code, _, errors = command.run()
    assert code == 3, errors
    assert f"found 1 missing slice: {slices}" in errors
    assert f"the finished part is kept in {kept.name}; to give it up, delete that directory" in errors
    shutil.rmtree(kept)
    for layer in images.iterdir():
        (layer / f"{slices + 1}.tif").rename(layer / f"{slices}.tif")
    code, _, errors = command.run()
    assert code == 0, errors
    assert len([dataset for dataset in server.wk.datasets if dataset.properties is not None]) == 1


def test_a_wrong_token_is_reported_before_anything_is_made(stack: Path, tmp_path: Path, server: Server) -> None:
    command = remote_convert(stack, tmp_path / "work", server.url)
    command.environment["WK_TOKEN"] = "another-secret"
    code, out, errors = command.run()
    assert code == ServerError.exit_code, errors
    assert "token" in errors
    assert "another-secret" not in errors + out
    assert not any((tmp_path / "work").iterdir())


def test_a_folder_that_is_not_there_is_reported_before_anything_is_made(stack: Path, tmp_path: Path, server: Server) -> None:
    code, _, errors = remote_convert(stack, tmp_path / "work", server.url, "--folder", "Nowhere/at all").run()
    assert code == 3, errors
    assert "Nowhere/at all" in errors
    assert not any((tmp_path / "work").iterdir())


def test_the_token_comes_from_a_file_or_the_command_line_too(stack: Path, tmp_path: Path, server: Server) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    command = remote_convert(stack, tmp_path / "work", server.url, "--no-downsample", "--token-file", str(file))
    command.environment["WK_TOKEN"] = ""
    code, out, errors = command.run()
    assert code == 2, errors
    assert "chmod 600" in errors
    file.chmod(0o600)
    code, out, errors = command.run()
    assert code == 0, errors
    command = remote_convert(stack, tmp_path / "work", server.url, "--no-downsample", "--dataset-name", "second", "--token", TOKEN)
    command.environment["WK_TOKEN"] = ""
    code, out, errors = command.run()
    assert code == 0, errors
    assert "process list" in errors
    assert len(server.trees()) == 2
    no_token_in(out, errors)


def test_on_a_terminal_bytes_and_rate_are_shown(stack: Path, tmp_path: Path, server: Server) -> None:
    reader, terminal = pty.openpty()
    server.chunk_fault.delay = 0.3
    command = remote_convert(stack, tmp_path / "work", server.url, "--no-downsample")
    environment = os.environ | {"WK_TOKEN": TOKEN}
    with subprocess.Popen(command.words, cwd=command.cwd, env=environment, stderr=terminal, stdout=subprocess.DEVNULL) as process:
        os.close(terminal)
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while piece := os.read(reader, 4096):
                shown += piece
        assert process.wait() == 0
    os.close(reader)
    text = shown.decode()
    assert "storage shards" in text
    assert re.search(r"sending: [0-9.]+ .?B of [0-9.]+ .?B \(\d+ %\), [0-9.]+ .?B/s, \d+ s left", text), text
    assert " of " in text
    assert TOKEN not in text
