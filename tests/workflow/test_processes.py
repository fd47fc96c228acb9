"""Conditions that processes of a run must survive: no terminal, a full output, signals, limits, paths with line breaks."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.torture.fuzz_seeds import write_images
from tests.workflow.workflow_helpers import WKPIPE, data_files, in_jobs, run, snakemake_command
from wkpipe.cli.app import run_app
from wkpipe.run.failure import _killed_step
from wkpipe.storage.process import limit_reached

pytestmark = pytest.mark.sampled(every=6)

OPTIONS = ("--voxel-size", "10,10,10", "--chunk-shape", "8", "--shard-shape", "16", "--jobs", "1")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    write_images(root)
    return root / "stack"


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    target = tmp_path_factory.mktemp("whole") / "dataset"
    assert run("convert", images, target, *OPTIONS).returncode == 0
    return data_files(target)


def convert(images: Path, target: Path) -> list[str]:
    return [*WKPIPE, "convert", str(images), str(target), *OPTIONS]


# -- standard streams -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", ["0<&- 1<&- 2<&-", ">/dev/full 2>/dev/full", "2>&1 | true", "<&- >/dev/full", "1<&-"])
def test_what_is_printed_does_not_decide_over_a_run(images: Path, whole: dict[str, str], tmp_path: Path, streams: str) -> None:
    target = tmp_path / "dataset"
    script = f'set -o pipefail; "$@" {streams}'
    done = subprocess.run(["bash", "-c", script, "bash", *convert(images, target)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert data_files(target) == whole
    accounts = ("wkpipe: stack:", "wkpipe: layer stack:")
    said = [line for line in done.stderr.splitlines() if line.startswith("wkpipe:") and not line.startswith(accounts)]
    assert said == (["wkpipe: the output could not be written: No space left on device"] if streams == "<&- >/dev/full" else [])


def test_output_that_is_all_of_a_command_is_missed(images: Path, tmp_path: Path) -> None:
    target = tmp_path / "dataset"
    assert run_app(["convert", str(images), str(target), *OPTIONS, "--quiet"]) == 0
    for streams, code in ((">/dev/full", 3), ("| true", 0), ("1<&-", 0)):
        script = f'set -o pipefail; "$@" {streams}'
        done = subprocess.run(["bash", "-c", script, "bash", *WKPIPE, "info", str(target)], capture_output=True, text=True, check=False)
        assert (done.returncode, len(done.stderr.splitlines())) == (code, int(code > 0)), done.stderr


def test_debugging_keeps_the_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WKPIPE_DEBUG", "1")
    assert run_app(["info", str(tmp_path / "none")]) == 3
    assert run_app(["convert", str(tmp_path), str(tmp_path / "target"), "--voxel-size", "no"]) == 2
    assert "Traceback" in capsys.readouterr().err


# -- signals --------------------------------------------------------------------------------------------------------

KILLED = in_jobs("""
if "WKPIPE_TEST_SIGNAL" in os.environ:
    os.kill(os.getpid(), int(os.environ["WKPIPE_TEST_SIGNAL"]))
""")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_step_that_is_killed_is_called_that(images: Path, whole: dict[str, str], tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "sitecustomize.py").write_text(KILLED)
    command = ["convert", images, tmp_path / "dataset", *OPTIONS, "--quiet"]
    done = run(*command, PYTHONPATH=str(tmp_path), WKPIPE_TEST_SIGNAL=str(int(number)))
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("wkpipe: ")]
    assert f"was killed by signal {int(number)} ({number.name})" in line
    assert ("perhaps because of its memory" in line) == (number == signal.SIGKILL)
    assert "the same command resumes" in line
    assert run(*command).returncode == 0
    assert data_files(tmp_path / "dataset") == whole


def test_plain_snakemake_says_it_too(images: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(KILLED)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "WKPIPE_TEST_SIGNAL": "9"}
    command = snakemake_command(images, tmp_path / "dataset")
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert (
        "wkpipe: task 00000-stack-1 was killed by signal 9 (SIGKILL), perhaps because of its memory; the same command resumes"
        in done.stderr
    )


def test_only_a_killed_step_counts_as_killed() -> None:
    text = "Command 'set -euo pipefail;  bash /w/step.sh /p /r 00001-em > l.log 2>&1' {}."
    assert _killed_step(text.format("returned non-zero exit status 1")) == ""
    assert _killed_step(text.format("returned non-zero exit status 255")) == ""
    assert _killed_step(text.format("died with <Signals.SIGBUS: 7>")) == "task 00001-em was killed by signal 7 (SIGBUS)"
    assert _killed_step(text.format("returned non-zero exit status 139")) == "task 00001-em was killed by signal 11 (SIGSEGV)"


FROZEN = in_jobs("""
if "WKPIPE_TEST_FREEZE" in os.environ:
    import pathlib, signal
    pathlib.Path(os.environ["WKPIPE_TEST_FREEZE"]).write_text(str(os.getpid()))
    signal.pause()
""")


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_a_closed_terminal_stops_a_run_in_order(images: Path, whole: dict[str, str], tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "sitecustomize.py").write_text(FROZEN)
    begun, target = tmp_path / "begun", tmp_path / "dataset"
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "WKPIPE_TEST_FREEZE": str(begun)}
    process = psutil.Popen(convert(images, target), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    while process.poll() is None and not begun.exists():
        time.sleep(0.02)
    family = process.children(recursive=True)
    process.send_signal(number)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    assert "the same command" in errors
    assert not psutil.wait_procs(family, timeout=120)[1], "nothing is left running"
    assert not (target / ".wkpipe" / "locks" / "run.lease").exists()
    assert run("convert", images, target, *OPTIONS).returncode == 0
    assert data_files(target) == whole


def test_nohup_outlives_its_terminal(images: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(FROZEN)
    begun, target = tmp_path / "begun", tmp_path / "dataset"
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "WKPIPE_TEST_FREEZE": str(begun)}
    command = ["nohup", *convert(images, target)]
    process = psutil.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    while process.poll() is None and (not begun.exists() or not begun.read_text()):
        time.sleep(0.02)
    process.send_signal(signal.SIGHUP)
    psutil.Process(int(begun.read_text())).send_signal(signal.SIGHUP)  # it is ignored there too
    time.sleep(0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    assert process.returncode == 130


# -- limits ---------------------------------------------------------------------------------------------------------


def test_limits_have_names() -> None:
    assert "ulimit -u" in str(limit_reached(RuntimeError("can't start new thread")))
    assert "ulimit -u" in str(limit_reached(BlockingIOError(11, "Resource temporarily unavailable")))
    assert "ulimit -n" in str(limit_reached(OSError(24, "Too many open files", "x")))
    assert "out of memory" in str(limit_reached(MemoryError()))
    assert limit_reached(RuntimeError("another")) is None
    assert limit_reached(OSError(5, "Input/output error")) is None


def as_user(uid: int, gid: int = 0) -> list[str]:
    """Return a prefix that runs a command as another user who may read everything; skip the test if that is not possible."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root can be other users, with setpriv")
    capabilities = [f"--{kind}=-all,+dac_read_search" for kind in ("inh-caps", "ambient-caps", "bounding-set")]
    return ["setpriv", f"--reuid={uid}", f"--regid={gid or uid}", "--clear-groups", *capabilities]


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that every user can write; those of pytest are closed to others."""
    directory = Path(tempfile.mkdtemp(prefix="wkpipe-"))
    directory.chmod(0o777)
    yield directory
    shutil.rmtree(directory)


def some_uid(number: int) -> int:
    """Return a user id that only this test uses: limits count all processes of a user."""
    return 1_000_000 + os.getpid() % 100_000 * 20 + number


def test_a_user_without_a_name_may_run(images: Path, whole: dict[str, str], open_place: Path) -> None:
    """As it happens in a container."""
    environment = {key: value for key, value in os.environ.items() if key not in ("LOGNAME", "USER", "LNAME", "USERNAME")}
    command = [*as_user(some_uid(0)), *convert(images, open_place / "dataset"), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment | {"HOME": str(open_place)}, check=False)
    assert done.returncode == 0, done.stderr
    assert data_files(open_place / "dataset") == whole


@pytest.mark.parametrize("most", [1, 4, 8, 12])
def test_few_processes_are_one_line(images: Path, open_place: Path, most: int) -> None:
    """For any process that cannot start another process or a thread."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))

    command = [*as_user(some_uid(most)), *convert(images, open_place / "dataset"), "--quiet"]
    environment = os.environ | {"HOME": str(open_place)}
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, env=environment, timeout=240, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("wkpipe: ")]
    assert "defect" not in done.stderr
    if done.returncode == 0:
        assert most > 4
        return
    assert len(lines) == 1, done.stderr
    assert f"the limit of processes and threads (ulimit -u {most}) is reached" in lines[0], lines


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system")
def test_used_up_inodes_are_called_that(images: Path, whole: dict[str, str], tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,nr_inodes=50", "none", mount], capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        done = run("convert", images, mount / "dataset", *OPTIONS, "--quiet", "--ignore-disk-space")
        assert done.returncode == 3, done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("wkpipe: ")]
        assert "has no inodes left" in line
        subprocess.run(["mount", "-o", "remount,nr_inodes=100000", str(mount)], check=True)
        assert run("convert", images, mount / "dataset", *OPTIONS).returncode == 0
        assert data_files(mount / "dataset") == whole
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=False)


DEAD_DISK = in_jobs("""
if "WKPIPE_TEST_DISK" in os.environ:
    import fcntl, struct
    fcntl.ioctl(os.open(os.environ["WKPIPE_TEST_DISK"], os.O_RDONLY), 0x8004587D, struct.pack("I", 2))
""")
"""The ioctl SHUTDOWN of ext4: after it, the file system returns EIO."""


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("mkfs.ext4") is None, reason="only root can mount a file system, with mkfs.ext4")
def test_a_disk_that_dies_is_called_that(images: Path, whole: dict[str, str], tmp_path: Path) -> None:
    mount, image = tmp_path / "mount", tmp_path / "image"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    if subprocess.run(["mount", "-o", "loop", str(image), str(mount)], capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    (tmp_path / "sitecustomize.py").write_text(DEAD_DISK)
    try:
        done = run("convert", images, mount / "dataset", *OPTIONS, "-q", PYTHONPATH=str(tmp_path), WKPIPE_TEST_DISK=str(mount))
        assert done.returncode == 3, done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("wkpipe: ")]
        assert "the disk reports an input/output error; check it, then run the same command again" in line
        seen = run("info", mount / "dataset")
        assert seen.returncode in (3, 4)
        assert "restore it from a copy" not in seen.stderr
        subprocess.run(["umount", str(mount)], check=True)
        subprocess.run(["mount", "-o", "loop", str(image), str(mount)], check=True)
        assert run("convert", images, mount / "dataset", *OPTIONS).returncode == 0
        assert data_files(mount / "dataset") == whole
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=False)


# -- paths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a\n"])
@pytest.mark.parametrize(
    "command",
    [
        ["convert", "IMAGES", "TARGET", "--voxel-size", "1,1,1"],
        ["downsample", "TARGET"],
        ["info", "TARGET"],
        ["verify", "TARGET"],
        ["upload", "TARGET", "--status"],
        ["downsample", "DATASET", "--state-dir", "TARGET"],
        ["remote-convert", "IMAGES", "--voxel-size", "1,1,1", "--work-dir", "TARGET", "--token", "secret"],
    ],
)
def test_a_line_break_in_a_path_is_refused(
    images: Path, tmp_path: Path, command: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / name
    target.mkdir()
    (target / "datasource-properties.json").write_text("{}")
    (tmp_path / "dataset").mkdir()
    places = {"IMAGES": str(images), "TARGET": str(target), "DATASET": str(tmp_path / "dataset")}
    assert run_app([places.get(word, word) for word in command]) in (2, 3)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "--token shows" not in line]
    assert "line break" in line
    assert [path.name for path in target.iterdir()] == ["datasource-properties.json"]


def test_images_may_have_one(images: Path, whole: dict[str, str], tmp_path: Path) -> None:
    source = Path(shutil.copytree(images, tmp_path / "with\nline\rbreak" / "stack"))
    assert run("convert", source, tmp_path / "dataset", *OPTIONS, "--quiet").returncode == 0
    assert data_files(tmp_path / "dataset") == whole


def test_plain_snakemake_refuses_it_too(images: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"source": str(images), "target": str(tmp_path / "a\nb"), "voxel_size": [1, 1, 1]}))
    command = [part for part in snakemake_command(images, tmp_path / "x") if "=" not in part and part != "--config"]
    done = subprocess.run([*command, "--configfile", str(config)], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode in (2, 3), done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("wkpipe: ") and "line break" in line]


# -- colleagues -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", ["002", "027"])
def test_a_colleague_resumes_what_was_killed(images: Path, whole: dict[str, str], open_place: Path, umask: str) -> None:
    """The second run has another secret and other rights: it relies on ledger and files. Without the rights, it changes nothing."""
    one, other, group = some_uid(1), some_uid(2), some_uid(3)
    shared = open_place / "lab"
    shared.mkdir()
    os.chown(shared, one, group)
    shared.chmod(0o2775)
    (open_place / "sitecustomize.py").write_text(KILLED_WHILE_WRITING)
    (open_place / "sitecustomize.py").chmod(0o644)

    def by(uid: int, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [*as_user(uid, group), "sh", "-c", f'umask {umask}; exec "$@"', "sh", *convert(images, shared / "dataset"), "-q"]
        given = os.environ | {"HOME": str(open_place), "LOGNAME": f"user{uid}"} | environment
        return subprocess.run(command, capture_output=True, text=True, env=given, check=False)

    killed = by(one, PYTHONPATH=str(open_place), WKPIPE_TEST_SIGNAL="9")
    assert "was killed by signal 9" in killed.stderr
    assert list((shared / "dataset" / ".wkpipe" / "ledger").rglob("*.segment")), "there is something to resume"
    before = data_files(shared / "dataset")
    resumed = by(other)
    if umask == "027":
        assert resumed.returncode == 3, resumed.stderr
        assert len(resumed.stderr.splitlines()) == 1
        assert data_files(shared / "dataset") == before
        resumed = by(one)
    assert resumed.returncode == 0, resumed.stderr
    assert data_files(shared / "dataset") == whole


KILLED_WHILE_WRITING = in_jobs("""
if "WKPIPE_TEST_SIGNAL" in os.environ:
    from wkpipe.storage.commits import Commits
    flush = Commits.flush
    def flush_and_die(self):
        some = self._noted
        flush(self)
        if some:
            os.kill(os.getpid(), int(os.environ["WKPIPE_TEST_SIGNAL"]))
    Commits.flush = flush_and_die
""")
