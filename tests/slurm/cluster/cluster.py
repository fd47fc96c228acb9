"""A real Slurm on this host, for tests: a controller and some nodes that can be killed one by one."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.slurm.cluster.configuration import (
    ACCOUNT,
    CGROUP,
    Ports,
    cgroup_conf,
    kernel_enforces_memory,
    slurm_conf,
    slurmdbd_conf,
)
from tests.slurm.cluster.packages import SEARCH_PATH, Unavailable, install, program

START_SECONDS = 120.0
STOP_SECONDS = 60.0
SETTLE_SECONDS = 12.0
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL", "BOOT_FAIL", "DEADLINE", "PREEMPTED"}
PREFIX = "wkpipe-slurm-"
OWNER = "owner"
"""A file that is locked for as long as the cluster's owner lives."""
PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Job:
    """A job as `squeue` shows it."""

    id: str
    name: str
    state: str
    node: str
    directory: Path
    memory: str
    time_limit: str

    @property
    def ended(self) -> bool:
        return self.state in ENDED


@dataclass
class Cluster:
    """Slurm in its own directory.

    SLURM_CONF in `environment` names the configuration. Daemons, their jobs and commands of `as_etc` also see it as /etc/slurm,
    in their own mount namespace. So /etc/slurm of the host stays as it is.
    """

    nodes: int = 3
    accounting: bool = False
    directory: Path = field(init=False)
    names: list[str] = field(init=False)
    _ports: Ports = field(init=False)
    _daemons: dict[str, subprocess.Popen[bytes]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        # Not pytest's directory: the paths of sockets must be short, and the daemons refuse directories of other owners.
        self.directory = Path(tempfile.mkdtemp(prefix=PREFIX))
        self.directory.chmod(0o755)
        self._owner = (self.directory / OWNER).open("w")
        fcntl.flock(self._owner, fcntl.LOCK_EX)
        self._ports = Ports.free(self.nodes)
        # Unique, because control groups are named after them.
        self.names = [f"p{port}n{number}" for number, port in enumerate(self._ports.nodes, 1)]
        self._mounts = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
        self.by_kernel = kernel_enforces_memory()

    @property
    def conf(self) -> Path:
        return self.directory / "etc" / "slurm.conf"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the users of this cluster."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_", "SQUEUE_"))}
        return kept | {"SLURM_CONF": str(self.conf), "PATH": SEARCH_PATH}

    # ------------------------------------------------------------------ up and down

    def start(self) -> None:
        """Start all daemons and wait until they work.

        Raises:
            Unavailable: a daemon does not start; the message has the ends of the logs.
        """
        try:
            self._write_configuration()
            _let_loopback_resolve()
            self._start("munged", *self._munged())
            _wait_for((self.directory / "munge" / "socket").exists, "munged")
            if self.accounting:
                self._start_accounting()
            self.start_controller()
            for name in self.names:
                self.start_node(name)
            _wait_for(self._all_idle, "nodes")
            if self.accounting:
                self.client("sacctmgr", "--immediate", "add", "account", ACCOUNT)
                self.client("sacctmgr", "--immediate", "add", "user", "root", f"account={ACCOUNT}")
            self.check()
        except (Unavailable, OSError, subprocess.SubprocessError) as error:
            logs = self.log_ends()
            self.stop()
            raise Unavailable(f"Slurm does not come up: {error}\n{logs}") from error

    def check(self) -> None:
        """Run a real job on every node."""
        self.client("srun", f"--nodes={self.nodes}", "--mem=10", "--time=1", "true")

    def stop(self) -> None:
        """End the jobs and the daemons that this object has started, and remove the directory."""
        with contextlib.suppress(subprocess.SubprocessError):
            self.cancel_all()
        for name in (*self.names, "slurmctld", "slurmdbd", "mariadbd", "munged"):
            self._end(name, signal.SIGTERM)
        _remove(self.directory)
        self._owner.close()

    def restore(self) -> None:
        """Cancel all jobs and restart the daemons that a test has killed."""
        self.start_controller()
        for name in self.names:
            self.start_node(name)
        self.cancel_all()
        with contextlib.suppress(Unavailable):
            _wait_for(self._all_idle, "nodes", SETTLE_SECONDS)
        # A node that starts registers at once; the controller finds lost ones only at its next look.
        for name in self.names:
            if not self._idle(name):
                self._end(name, signal.SIGTERM)
                self.start_node(name)
        _wait_for(self._all_idle, "nodes", 2 * START_SECONDS)

    def cancel_all(self) -> None:
        """Cancel all jobs and wait until they are gone."""
        if not self._alive("slurmctld"):
            return
        self.client("scancel", "--user=root", check=False)
        _wait_for(lambda: all(job.ended for job in self.jobs()), "the queue to get empty")

    def start_controller(self) -> None:
        """Start slurmctld, unless it runs."""
        if not self._alive("slurmctld"):
            self._start("slurmctld", program("slurmctld"), "-D", "-f", str(self.conf))
        _wait_for(lambda: "UP" in self.client("scontrol", "ping", check=False), "slurmctld")

    def stop_controller(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End slurmctld: jobs continue, but no call succeeds. After SIGKILL it may not know the newest jobs."""
        self._end("slurmctld", number)

    def lose_state(self) -> None:
        """Kill slurmctld and start it again without any knowledge of jobs; these continue as unknown ones."""
        highest = max((int(job.id) for job in self.jobs()), default=0)
        self.stop_controller(signal.SIGKILL)
        for state in (self.directory / "state").glob("job_state*"):
            state.unlink()
        # As administrators do then, because nodes remember the ids of their jobs.
        lines = [line for line in self.conf.read_text().splitlines() if not line.startswith("FirstJobId=")]
        self.conf.write_text("\n".join([*lines, f"FirstJobId={highest + 100}"]) + "\n")
        self.start_controller()

    def start_node(self, name: str) -> None:
        """Start slurmd of a node, unless it runs."""
        if not self._alive(name):
            self._start(name, program("slurmd"), "-D", "-N", name, "-f", str(self.conf))

    def kill_node(self, name: str) -> None:
        """Kill all processes of a node, as a power failure does."""
        self._end(name, signal.SIGKILL)
        while processes := self.job_processes(name):  # again, because processes may have been starting
            for process in [*_stepds_above(processes), *processes]:
                _kill(process)
            psutil.wait_procs(processes, timeout=1)

    def as_etc(self, command: Sequence[str]) -> list[str]:
        """Return a command that finds the configuration as /etc/slurm, for tools that drop SLURM_CONF.

        Raises:
            Unavailable: this host has no mount namespaces.
        """
        if not self._mounts:
            raise Unavailable("no mount namespace can be made here")
        mount = f'mount --bind {self.directory}/etc /etc/slurm && exec "$@"'
        return [program("unshare"), "--mount", "sh", "-c", mount, "sh", *command]

    # ------------------------------------------------------------------ asking

    def client(self, *command: str, check: bool = True) -> str:
        """Run one of Slurm's commands and return its output."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        if check and done.returncode != 0:
            raise Unavailable(f"{' '.join(command)}: {done.stderr.strip()}")
        return done.stdout

    def jobs(self) -> list[Job]:
        """Return all jobs that the controller remembers, also ended ones; the oldest first."""
        command = ("squeue", "--noheader", "--states=all", "--sort=i", "--format=%i|%j|%T|%N|%Z|%m|%l")
        lines = self._patiently(*command).splitlines()
        return [Job(*fields[:4], Path(fields[4]), *fields[5:]) for fields in (line.split("|") for line in lines)]

    def job_processes(self, node: str | None = None) -> list[psutil.Process]:
        """Return the processes that jobs of this cluster (on a node) have started."""
        nodes = self.names if node is None else [node]
        return [process for process, environment in _users_of(self.conf) if environment.get("SLURMD_NODENAME") in nodes]

    def log_ends(self, lines: int = 5) -> str:
        """Return the ends of the daemons' logs."""
        logs = sorted((self.directory / "log").glob("*"))
        ends = ("\n".join(path.read_text(errors="replace").splitlines()[-lines:]) for path in logs)
        return "\n".join(f"--- {path.name}\n{end}" for path, end in zip(logs, ends, strict=True) if end)

    def _patiently(self, *command: str) -> str:
        """Ask once more if a busy controller did not answer in time, which it need not within MessageTimeout."""
        with contextlib.suppress(Unavailable):
            return self.client(*command)
        return self.client(*command)

    def _all_idle(self) -> bool:
        return all(self._idle(name) for name in self.names)

    def _idle(self, name: str) -> bool:
        # `sinfo` may show a node as partly allocated long after the job's end.
        return " State=IDLE " in self.client("scontrol", "show", "node", name, "--oneliner", check=False)

    # ------------------------------------------------------------------ daemons

    def _write_configuration(self) -> None:
        for name in ("etc", "log", "run", "state", "spool", "munge"):
            (self.directory / name).mkdir()
        etc = self.directory / "etc"
        self.conf.write_text(slurm_conf(self.directory, self.names, self._ports, self.accounting, self.by_kernel))
        (etc / "cgroup.conf").write_text(cgroup_conf(self.by_kernel))
        key = self.directory / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        if self.accounting:
            secret = etc / "slurmdbd.conf"
            secret.touch(mode=0o600)
            secret.write_text(slurmdbd_conf(self.directory, self._ports))

    def _munged(self) -> list[str]:
        munge = self.directory / "munge"
        return [
            *(program("munged"), "--foreground", "--force", f"--key-file={munge}/key", f"--socket={munge}/socket"),
            *(f"--seed-file={munge}/seed", f"--pid-file={self.directory}/run/munged.pid", f"--log-file={self.directory}/log/munged.log"),
        ]

    def _start_accounting(self) -> None:
        data = self.directory / "database"
        database_socket = self.directory / "run" / "database"
        install_database = [
            *("mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={data}", "--skip-test-db"),
            "--auth-root-authentication-method=socket",
        ]
        subprocess.run(install_database, env=self.environment, capture_output=True, timeout=300, check=True)
        self._start(
            *("mariadbd", program("mariadbd"), "--no-defaults", "--user=root", f"--datadir={data}", f"--socket={database_socket}"),
            *(f"--pid-file={self.directory}/run/mariadbd.pid", "--bind-address=127.0.0.1", f"--port={self._ports.database}"),
            *("--innodb-buffer-pool-size=64M", "--innodb-log-file-size=16M", "--innodb-flush-log-at-trx-commit=0"),
            *("--innodb-lock-wait-timeout=900",),
        )
        statements = (
            "create database slurm_acct_db; create user 'slurm'@'127.0.0.1' identified by 'slurm';"
            " grant all on slurm_acct_db.* to 'slurm'@'127.0.0.1';"
        )
        ask = ["mariadb", "--no-defaults", "--user=root", f"--socket={database_socket}", "--execute"]
        _wait_for(lambda: subprocess.run([*ask, "select 1"], capture_output=True, check=False).returncode == 0, "mariadbd")
        subprocess.run([*ask, statements], capture_output=True, timeout=60, check=True)
        self._start("slurmdbd", program("slurmdbd"), "-D")
        _wait_for(lambda: _listens(self._ports.accounting), "slurmdbd")

    def _start(self, name: str, *command: str) -> None:
        with (self.directory / "log" / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                self.as_etc(command) if self._mounts else command,
                env=self.environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C in the terminal must reach only the tests, which then end the daemons in order.
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )

    def _alive(self, name: str) -> bool:
        return name in self._daemons and self._daemons[name].poll() is None

    def _end(self, name: str, number: signal.Signals) -> None:
        daemon = self._daemons.pop(name, None)
        if daemon is None:
            return
        daemon.send_signal(number)
        try:
            daemon.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


@contextlib.contextmanager
def running(nodes: int = 3, accounting: bool = False) -> Iterator[Cluster]:
    """Install and start a cluster, and stop it at the end of the block.

    Raises:
        Unavailable: this host cannot run one.
    """
    install(accounting)
    _remove_leftovers()
    cluster = Cluster(nodes, accounting)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def counting_programs(directory: Path, log: Path, environment: Mapping[str, str]) -> str:
    """Write programs that record their calls in `log` and then run Slurm's command of that name; return the PATH that finds them first."""
    directory.mkdir()
    for name in ("sbatch", "squeue", "sacct", "scontrol", "scancel", "sinfo", "srun", "sacctmgr"):
        shim = directory / name
        shim.write_text(f'#!/bin/sh\necho "$(date +%s.%N) {name} $*" >> "{log}"\nexec "{program(name)}" "$@"\n')
        shim.chmod(0o755)
    return f"{directory}:{environment['PATH']}"


def _wait_for(condition: Callable[[], bool], what: str, seconds: float = START_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise Unavailable(f"waited {seconds:g} s for {what}")
        time.sleep(0.1)


def _listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def _let_loopback_resolve() -> None:
    """Give a host without a network an address, because Slurm looks up no addresses with 127.0.0.1 alone."""
    try:
        socket.getaddrinfo("127.0.0.1", 1, socket.AF_INET, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
    except socket.gaierror:
        for command in (["ip", "link", "set", "lo", "up"], ["ip", "address", "add", "127.0.0.2/8", "dev", "lo"]):
            subprocess.run(command, env=os.environ | {"PATH": SEARCH_PATH}, capture_output=True, check=False)


def _end_with_parent() -> None:
    """Have Linux send SIGTERM to this (new) process when its parent dies, however that happens."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _stepds_above(processes: Sequence[psutil.Process]) -> Iterator[psutil.Process]:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            yield from (parent for parent in process.parents() if parent.name() == "slurmstepd")


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.Error):
        process.kill()


def _users_of(conf: Path) -> Iterator[tuple[psutil.Process, dict[str, str]]]:
    """Yield the processes that use a configuration, with their environments."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environment = process.environ()
            if environment.get("SLURM_CONF") == str(conf):
                yield process, environment


def _remove(directory: Path) -> None:
    """Kill the remaining jobs of a cluster, and remove its files and control groups from this host."""
    users = list(_users_of(directory / "etc" / "slurm.conf"))
    for process, environment in users:
        with contextlib.suppress(psutil.Error):
            if "SLURMD_NODENAME" in environment or process.name() == "slurmstepd":
                process.kill()
    psutil.wait_procs([process for process, _ in users], timeout=1)
    for log in (directory / "log").glob("p*n*.out"):
        _remove_control_groups(log.stem)
    shutil.rmtree(directory, ignore_errors=True)


def _remove_leftovers() -> None:
    """Remove clusters whose owner was killed."""
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), (directory / OWNER).open() as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(directory)


def _remove_control_groups(node: str) -> None:
    end = time.monotonic() + 5  # killed processes may take a while to be gone
    while groups := list(CGROUP.glob(f"*/slurm_{node}")):
        for group in groups:
            for directory in [*sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True), group]:
                with contextlib.suppress(OSError):
                    directory.rmdir()
        if time.monotonic() > end:
            break
        time.sleep(0.1)
