"""The process that the jobs of a local run are forked from: who may ask it, and what a kill of any process does."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.torture.fuzz_seeds import write_images
from tests.workflow.workflow_helpers import REPOSITORY, WKPIPE, data_files, in_jobs, run
from wkpipe.run.job_server import JOBS_VARIABLE, listening

ASK = REPOSITORY / "workflow" / "scripts" / "ask.py"
OPTIONS = ("--voxel-size", "10,10,10", "--chunk-shape", "8", "--shard-shape", "16", "--jobs", "1", "--quiet")
NOTED = in_jobs("""
import pathlib, signal
pathlib.Path(os.environ["WKPIPE_TEST_JOBS"]).open("a").write(f"{os.getpid()} {os.getppid()}\\n")
if "WKPIPE_TEST_STOP" in os.environ:
    signal.pause()
""")
"""Jobs note their process and its parent, and may wait for a signal."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    write_images(root)
    return root / "stack"


# -- whole runs -----------------------------------------------------------------------------------------------------


class Started:
    """A `wkpipe convert` whose first job waits for a signal, and its processes."""

    def __init__(self, images: Path, directory: Path) -> None:
        self.target = directory / "dataset"
        self.arguments = ["convert", str(images), str(self.target), *OPTIONS]
        (directory / "sitecustomize.py").write_text(NOTED)
        notes = directory / "jobs"
        environment = os.environ | {"PYTHONPATH": str(directory), "WKPIPE_TEST_JOBS": str(notes), "WKPIPE_TEST_STOP": "1"}
        self.main = psutil.Popen([*WKPIPE, *self.arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        while self.main.poll() is None and not (notes.exists() and notes.read_text().endswith("\n")):
            time.sleep(0.02)
        job, server = notes.read_text().split()
        self.job, self.server = psutil.Process(int(job)), psutil.Process(int(server))
        self.family = self.main.children(recursive=True)
        self.client = next(child for child in self.family if str(ASK) in child.cmdline())

    def ended(self) -> tuple[int, str]:
        """Return exit code and errors of the command when it has ended, and check that it leaves no process."""
        _, errors = self.main.communicate(timeout=300)
        assert not psutil.wait_procs(self.family, timeout=120)[1], "nothing is left running"
        return self.main.returncode, errors


@pytest.mark.slow
@pytest.mark.sampled(every=3)
@pytest.mark.parametrize(
    "whose, number, said",
    [
        ("client", signal.SIGKILL, "was killed by signal 9"),
        ("client", signal.SIGTERM, "was killed by signal 15"),
        ("job", signal.SIGKILL, "was killed by signal 9"),
        ("server", signal.SIGKILL, "was killed by signal 9|has ended; the same command resumes"),
        ("main", signal.SIGINT, "the same command resumes"),
        ("main", signal.SIGKILL, ""),
    ],
)
def test_after_any_kill_nothing_runs_and_the_command_resumes(
    images: Path, tmp_path: Path, whose: str, number: signal.Signals, said: str
) -> None:
    run_ = Started(images, tmp_path)
    getattr(run_, whose).send_signal(number)
    if (whose, number) == ("main", signal.SIGKILL):  # Snakemake starts no more jobs, and those that run end in order
        run_.job.send_signal(signal.SIGTERM)
    code, errors = run_.ended()
    assert re.search(said, errors), errors
    assert "Traceback" not in errors
    assert code == {"main": 130 if number == signal.SIGINT else -number}.get(whose, 1)
    assert subprocess.run([*WKPIPE, *run_.arguments], check=False).returncode == 0
    whole = tmp_path / "whole"
    assert run("convert", images, whole, *OPTIONS).returncode == 0
    assert data_files(run_.target) == data_files(whole)


def test_jobs_are_forks_and_leave_nothing_behind(images: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NOTED)
    (tmp_path / "tmp").mkdir()
    given = {"PYTHONPATH": str(tmp_path), "WKPIPE_TEST_JOBS": str(tmp_path / "jobs"), "TMPDIR": str(tmp_path / "tmp")}
    assert run("convert", images, tmp_path / "dataset", *OPTIONS, **given).returncode == 0
    jobs = [line.split() for line in (tmp_path / "jobs").read_text().splitlines()]
    assert len({job for job, _ in jobs}) == len(jobs) >= 2
    assert len({parent for _, parent in jobs}) == 1, "all are forks of one process"
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("why", ["token", "long path"])
def test_without_a_server_jobs_are_processes_of_their_own(images: Path, tmp_path: Path, why: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(NOTED)
    long = tmp_path / ("long" * 30)
    long.mkdir()
    given = {"WK_TOKEN": "secret"} if why == "token" else {"TMPDIR": str(long)}
    done = run(
        "convert", images, tmp_path / "dataset", *OPTIONS, PYTHONPATH=str(tmp_path), WKPIPE_TEST_JOBS=str(tmp_path / "jobs"), **given
    )
    assert done.returncode == 0, done.stderr
    parents = [line.split()[1] for line in (tmp_path / "jobs").read_text().splitlines()]
    assert len(set(parents)) == len(parents) >= 2
    assert list(long.iterdir()) == []


# -- the server alone -----------------------------------------------------------------------------------------------


def show(arguments: list[str]) -> int:
    """The step of these tests: print what a job has from the program that asked for it, and end with the code in its name."""
    print(Path.cwd(), os.environ.get("GIVEN"), JOBS_VARIABLE in os.environ, arguments[0], flush=True)
    os.write(2, b"error\n")
    kind, _, value = arguments[1].partition("-")
    if kind == "signal":
        os.kill(os.getpid(), int(value))
    return int(value)


SERVER = """
import os, sys, time
from tests.workflow.test_warm_jobs import show
from wkpipe.run.job_server import JobServer, listening
listener = listening(sys.argv[1])
main = os.fork()
if main == 0:
    sys.stdin.read()
    os._exit(7)
sys.exit(os.waitstatus_to_exitcode(JobServer(listener, main, show).serve()))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The path of the socket of a server, whose other child ends when the tests do."""
    with tempfile.TemporaryDirectory(prefix="wkpipe-", dir="/tmp") as directory:
        yield from _serve(f"{directory}/socket")


def _serve(path: str) -> Iterator[str]:
    process = subprocess.Popen([sys.executable, "-c", SERVER, path], stdin=subprocess.PIPE, cwd=REPOSITORY)
    while not _is_served(path):  # its socket has a name before it listens
        assert process.poll() is None
        time.sleep(0.01)
    yield path
    process.communicate(timeout=300)
    assert process.returncode == 7, "it ends as the other child does"


def _is_served(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(path) == 0


def ask(path: str, task: str, prefix: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    command = [*prefix, sys.executable, "-I", "-S", str(ASK), str(FALLBACK), path, "/run", task]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, cwd="/usr", check=False, timeout=300)


FALLBACK = Path("/bin/echo")
"""In the place of Python: shows that the program falls back to a process of its own."""


def test_a_job_has_what_a_process_of_its_own_would_have(server: str) -> None:
    done = ask(server, "code-3", GIVEN="a\nb", WKPIPE_JOBS=server)
    assert (done.returncode, done.stdout, done.stderr) == (3, "/usr a\nb False /run\n", "error\n")


@pytest.mark.parametrize("task, code", [("code-0", 0), ("code-255", 255), ("signal-9", 137), ("signal-15", 143), ("signal-11", 139)])
def test_the_program_ends_as_the_job_does(server: str, task: str, code: int) -> None:
    assert ask(server, task).returncode == code


def test_what_the_server_does_not_understand_stops_nothing(server: str) -> None:
    for content in (b"", b"x", b"\xff" * 8, b"\x04" + bytes(7) + b"abcd"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(server)
            assert len(connection.recv(4)) == 4
            connection.sendall(content)
    assert ask(server, "code-0").returncode == 0


def falls_back(done: subprocess.CompletedProcess[str]) -> bool:
    return done.returncode == 0 and done.stdout == "-P -m wkpipe step /run code-0\n"


def test_without_a_server_the_program_does_the_task_itself(tmp_path: Path) -> None:
    assert falls_back(ask(str(tmp_path / "none"), "code-0"))
    with listening(str(tmp_path / "closed")):
        pass
    assert falls_back(ask(str(tmp_path / "closed"), "code-0"))


def test_a_socket_needs_a_short_path(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="too long"):
        listening(str(tmp_path / ("x" * 108)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_refused_and_not_asked(server: str) -> None:
    """Even if the directory were open to all: neither does the server work for others, nor does the program ask theirs."""
    Path(server).parent.chmod(0o755)
    Path(server).chmod(0o777)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(server)
        assert len(connection.recv(4)) == 4, "its own user is served"
    other = ("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "--inh-caps=-all", "--ambient-caps=-all", LEFT)
    asked = subprocess.run(
        [*other, sys.executable, "-I", "-S", "-c", CONNECT, server], capture_output=True, text=True, check=False, timeout=300
    )
    assert (asked.returncode, asked.stdout) == (0, "b''\n"), asked.stderr
    assert falls_back(ask(server, "code-0", other))
    theirs = str(Path(server).parent / "theirs")
    Path(server).parent.chmod(0o777)
    listening_ = subprocess.Popen([*other, sys.executable, "-I", "-S", "-c", LISTEN, theirs], stdout=subprocess.PIPE, text=True)
    assert listening_.stdout is not None
    assert listening_.stdout.readline() == "listening\n"
    assert falls_back(ask(theirs, "code-0"))
    assert listening_.communicate(timeout=300)[0] == "b''\n", "it got nothing of the environment"


LEFT = "--bounding-set=-all,+dac_read_search"
"""The rights that the other user keeps: to read this environment and repository."""

LISTEN = """
import os, socket, struct, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o777)
listener.listen()
print("listening", flush=True)
connection, _ = listener.accept()
try:
    connection.send(struct.pack("i", os.getpid()))
    print(connection.recv(1000))
except OSError:
    print(b"")
"""
CONNECT = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(4))"


def test_a_process_with_a_second_thread_is_not_forked() -> None:
    code = "import threading; from wkpipe.run.own_processes import is_single_threaded as alone; e = threading.Event(); print(alone());"
    code += "t = threading.Thread(target=e.wait); t.start(); print(alone()); e.set(); t.join()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
