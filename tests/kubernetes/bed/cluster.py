"""A real Kubernetes of one node on this host, for one process that runs tests: it may break and restore the cluster."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.kubernetes.bed import control_groups
from tests.kubernetes.bed.configuration import write_configuration
from tests.kubernetes.bed.daemons import DAEMONS
from tests.kubernetes.bed.host import check_host
from tests.kubernetes.bed.keeper import START_SECONDS, remove_leftovers
from tests.kubernetes.bed.layout import Layout
from tests.kubernetes.bed.namespaces import network_of
from tests.kubernetes.bed.parts import Parts

PREFIX = "wkpipe-kubernetes-"
REPOSITORY = Path(__file__).resolve().parents[3]
END_SECONDS = 60.0


@dataclass
class Cluster:
    """A running cluster. It ends when it is closed, or when the process that has started it is gone."""

    layout: Layout
    parts: Parts
    keeper: int
    _user: IO[str]

    @classmethod
    def started(cls, parts: Parts, images: Sequence[Path]) -> Cluster:
        """Start a cluster and wait until pods can run: 5 s if nothing else runs, 10 to 20 s beside other work.

        Raises:
            RuntimeError: it does not come up; the message has the ends of the logs.
        """
        check_host()
        _remove_leftovers()
        layout = Layout(Path(tempfile.mkdtemp(prefix=PREFIX)))
        layout.create()
        write_configuration(layout, parts.network_plugins)
        user = layout.user.open("w")
        fcntl.flock(user, fcntl.LOCK_EX)
        environment = os.environ | {
            "PATH": parts.search_path,
            "LD_LIBRARY_PATH": str(parts.libraries),
            "PYTHONPATH": str(REPOSITORY),
        }
        archives = [str(path.resolve()) for path in (parts.pause / "pause.tar", *images)]
        with (layout.logs / "keeper.log").open("wb") as log:
            keeper = subprocess.Popen(
                [sys.executable, "-m", "tests.kubernetes.bed.keeper", str(layout.directory), *archives],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        layout.pid("keeper").write_text(str(keeper.pid))
        cluster = cls(layout, parts, keeper.pid, user)
        end = time.monotonic() + 2 * START_SECONDS
        while not layout.ready.exists():
            if keeper.poll() is not None or time.monotonic() > end:
                ends = cluster.log_ends()
                cluster.close()
                raise RuntimeError(f"Kubernetes does not come up; the ends of its logs:\n{ends}")
            time.sleep(0.1)
        return cluster

    def close(self) -> None:
        """End the cluster, and wait until it is gone."""
        self._user.close()
        end = time.monotonic() + END_SECONDS
        while _runs(self.keeper) and time.monotonic() < end:
            time.sleep(0.1)
        _remove_leftovers()

    # ------------------------------------------------------------------ use

    @property
    def kubeconfig(self) -> Path:
        return self.layout.kubeconfig

    @property
    def environment(self) -> dict[str, str]:
        """The environment of an administrator of this cluster."""
        own = {
            "KUBECONFIG": str(self.kubeconfig),
            "CONTAINERD_ADDRESS": str(self.layout.socket),
            "CONTAINERD_NAMESPACE": "k8s.io",
            "PATH": self.parts.search_path,
        }
        return os.environ | own

    @contextlib.contextmanager
    def network(self) -> Iterator[None]:
        """Let this thread, and the processes that it starts, reach the API server and pods, and nothing else."""
        with network_of(self.keeper):
            yield

    def load(self, image: Path) -> None:
        """Load an image archive, so that pods can run it."""
        subprocess.run(["ctr", "images", "import", image], env=self.environment, check=True, stdout=subprocess.DEVNULL)

    def log_ends(self, lines: int = 8) -> str:
        """Return the ends of the daemons' logs."""
        logs = sorted(self.layout.logs.glob("*.log"))
        return "\n".join("\n".join([f"--- {log.name}", *log.read_text(errors="replace").splitlines()[-lines:]]) for log in logs)

    # ------------------------------------------------------------------ damage

    def pid(self, daemon: str) -> int:
        """Return the process id of a daemon."""
        return int(self.layout.pid(daemon).read_text())

    def kill(self, daemon: str) -> None:
        """Kill a daemon (SIGKILL). It is started again at once, as a host's service manager does, unless it is not wanted."""
        pid = self.pid(daemon)
        if pid in control_groups.processes(self.layout.control_group):
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, signal.SIGKILL)
        _wait_for(lambda: pid not in control_groups.processes(self.layout.control_group), f"the end of {daemon}")

    def stop(self, daemon: str) -> None:
        """Kill a daemon and keep it from being started again."""
        self.layout.wanted(daemon).unlink(missing_ok=True)
        self.kill(daemon)

    def start(self, daemon: str) -> None:
        """Start a daemon that was stopped."""
        self.layout.wanted(daemon).touch()
        _wait_for(lambda: self.pid(daemon) in control_groups.processes(self.layout.control_group), f"the start of {daemon}")

    @contextlib.contextmanager
    def without(self, daemon: str) -> Iterator[None]:
        """Have a daemon away in this block: nothing listens on its port."""
        self.stop(daemon)
        try:
            yield
        finally:
            self.start(daemon)

    @contextlib.contextmanager
    def frozen(self, daemon: str) -> Iterator[None]:
        """Stop a daemon in this block (SIGSTOP): connections to it are accepted and never answered."""
        pid = self.pid(daemon)
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def start_all(self) -> None:
        """Start all daemons that a test has stopped."""
        for daemon in DAEMONS:
            self.start(daemon)


def _runs(pid: int) -> bool:
    """True if a process exists and is no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _wait_for(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds:g} s for {what}"
        time.sleep(0.05)


def _remove_leftovers() -> None:
    """Remove clusters whose keeper was killed."""
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        layout = Layout(directory)
        with contextlib.suppress(OSError), layout.owner.open() as owner:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
            remove_leftovers(layout)
