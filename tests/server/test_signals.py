"""SIGTERM and SIGHUP end any command at any time, like Ctrl-C: exit 130, one line. And the effect of WKPIPE_DEBUG."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.upload_helpers import SECRET, Stage
from wkpipe.cli.app import run_app
from wkpipe.errors import InputRefused, ServerError, UsageError

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
MAIN = "from wkpipe.cli.main import main; main()"
WHILE_LOADING = """
import os, sys

number = int(sys.argv.pop())

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "wkpipe.cli.upload":
            os.kill(os.getpid(), number)

sys.meta_path.insert(0, Finder())
from wkpipe.cli.main import main
main()
"""
"""A command line that gets a signal while it loads its modules."""


def as_usual() -> None:
    """Restore the handling of Ctrl-C: a shell that runs the tests in the background may have made its children ignore it."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)


def started(*arguments: str, program: str = MAIN) -> subprocess.Popen[str]:
    environment = {**os.environ, "WK_TOKEN": SECRET}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=as_usual)


def is_stopped(process: subprocess.Popen[str]) -> None:
    out, errors = process.communicate(timeout=500)
    assert (process.returncode, out, errors.splitlines()) == (130, "", ["wkpipe: stopped"])


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("route", ["buildinfo", "dataset", "zarr", "data"])
def test_a_download_that_asks_and_plans(stage: Stage, golden: Path, tmp_path: Path, number: signal.Signals, route: str) -> None:
    stage.fail(route, stall=60.0, count=None)
    row = stage.server.add_dataset(golden / "z3_rgb")
    process = started("download", f"{stage.url}/datasets/{row.id}", str(tmp_path / "here"))
    stage.wait_for(route, 1)
    process.send_signal(number)
    is_stopped(process)
    assert not (tmp_path / "here").exists()


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("words", [["upload", "--cancel"], ["upload"], ["remote-convert"]])
def test_a_command_that_waits_for_its_token(stage: Stage, tmp_path: Path, number: signal.Signals, words: list[str]) -> None:
    os.mkfifo(tmp_path / "token", 0o600)
    more = ["--voxel-size", "1,1,1"] if words == ["remote-convert"] else []
    process = started(*words, str(stage.dataset), *more, "--token-file", str(tmp_path / "token"), program=MAIN)
    with (tmp_path / "token").open("wb"):  # now it waits for the token
        process.send_signal(number)
        out, errors = process.communicate(timeout=500)
    assert process.returncode == 130
    assert out == ""
    assert len(errors.splitlines()) == 1
    assert errors.startswith("wkpipe: stopped")


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("words", [["info", "x"], ["convert", "a", "b", "--voxel-size", "1,1,1"], ["verify", "x"], ["--version"]])
def test_a_command_that_is_being_loaded(number: signal.Signals, words: list[str]) -> None:
    is_stopped(started(*words, str(int(number)), program=WHILE_LOADING))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_is_ignored_stays_so(tmp_path: Path, number: signal.Signals) -> None:
    """As nohup and batch systems need it."""
    ignoring = f"import signal; signal.signal({int(number)}, signal.SIG_IGN)\n{WHILE_LOADING}"
    process = started("info", str(tmp_path / "nothing"), str(int(number)), program=ignoring)
    _, errors = process.communicate(timeout=500)
    assert process.returncode == InputRefused.exit_code, errors


# -- tracebacks -----------------------------------------------------------------------------------------------------


def test_tracebacks_do_not_change_the_exit_code(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WK_TOKEN_FILE", str(tmp_path / "token"))
    (tmp_path / "token").write_text(SECRET)
    (tmp_path / "token").chmod(0o600)
    stage.fail("user", status=401, body=SECRET, count=None)
    cases = [
        (["info", str(tmp_path / "nothing")], InputRefused.exit_code),
        (["upload", str(stage.dataset), "--jobs", "x"], UsageError.exit_code),
        (["upload", str(stage.dataset), "--webknossos-url", "ftp://x"], UsageError.exit_code),
        (["upload", str(stage.dataset), "--webknossos-url", stage.url, "--dataset-name", "my_data"], ServerError.exit_code),
    ]
    for words, code in cases:
        monkeypatch.delenv("WKPIPE_DEBUG", raising=False)
        assert run_app(words) == code
        plain = capsys.readouterr().err
        assert "Traceback" not in plain
        monkeypatch.setenv("WKPIPE_DEBUG", "1")
        assert run_app(words) == code
        shown = capsys.readouterr().err
        assert "Traceback (most recent call last)" in shown
        assert shown.splitlines()[-1] == plain.splitlines()[-1]
        assert SECRET not in shown
