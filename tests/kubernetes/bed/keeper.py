"""``python -m tests.kubernetes.bed.keeper DIRECTORY``: the process that starts a cluster, keeps its daemons running, and removes it.

The cluster ends when nobody has a lock on its file `user`. Linux drops the locks of processes that are killed, so that also the
cluster of killed tests is removed. A daemon that dies is started again as long as its file in `wanted` exists.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.kubernetes.bed import control_groups, namespaces
from tests.kubernetes.bed.daemons import command
from tests.kubernetes.bed.layout import API, NODE, Layout

START_SECONDS = 240.0
TURN_SECONDS = 0.1


class Deserted(Exception):
    """Nobody uses the cluster any longer."""


class Failed(Exception):
    """The cluster does not come up; the message is the reason."""


@dataclass
class Keeper:
    """The parent of all daemons."""

    layout: Layout
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, images: list[str]) -> None:
        """Start all daemons in the order in which they need each other, until pods can run."""
        for daemon in ("etcd", "containerd", "apiserver"):
            self.layout.wanted(daemon).touch()
        self.wait_for(lambda: subprocess.run(["ctr", "version"], capture_output=True, check=False).returncode == 0, "containerd")
        imports = [subprocess.Popen(["ctr", "images", "import", image], stdout=subprocess.DEVNULL) for image in images]
        self.wait_for(self.layout.certificate.exists, "the certificate of the API server")
        self.wait_for(lambda: self.ask("/readyz") is not None, "the API server")
        for daemon in ("controllers", "scheduler", "kubelet"):
            self.layout.wanted(daemon).touch()
        self.wait_for(self.node_is_ready, "the node")
        for name in ("serviceaccounts/default", "configmaps/kube-root-ca.crt"):
            self.wait_for(lambda name=name: self.ask(f"/api/v1/namespaces/default/{name}") is not None, name)  # type: ignore[misc]
        for image, importing in zip(images, imports, strict=True):
            self.wait_for(lambda importing=importing: importing.poll() is not None, image)  # type: ignore[misc]
            if importing.returncode != 0:
                raise Failed(f"{image} cannot be imported")
        self.layout.ready.touch()

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + START_SECONDS
        while not condition():
            if time.monotonic() > end:
                raise Failed(f"waited {START_SECONDS:g} s for {what}")
            self.turn()

    def turn(self) -> None:
        """Start the daemons that are wanted and do not run, and wait for a moment.

        Raises:
            Deserted: nobody uses the cluster.
        """
        for path in sorted(self.layout.wanted("").iterdir()):
            running = self.daemons.get(path.name)
            if running is None or running.poll() is not None:
                self._start(path.name)
        with self.layout.user.open() as user, contextlib.suppress(BlockingIOError):
            fcntl.flock(user, fcntl.LOCK_EX | fcntl.LOCK_NB)
            raise Deserted
        time.sleep(TURN_SECONDS)

    def end(self) -> None:
        """End the daemons, the more helpful ones last, and every process that they have left."""
        for daemon in ("kubelet", "scheduler", "controllers", "apiserver"):
            if daemon in self.daemons:
                self.daemons[daemon].terminate()
        control_groups.leave()
        if not control_groups.remove(self.layout.control_group):
            print(f"control groups are left: {self.layout.control_group}", file=sys.stderr)
        for process in self.daemons.values():
            process.wait()

    def ask(self, path: str) -> object:
        """Return the answer of the API server as an administrator gets it, None if there is none."""
        token = yaml.safe_load(self.layout.kubeconfig.read_text())["users"][0]["user"]["token"]
        request = urllib.request.Request(API + path, headers={"Authorization": f"Bearer {token}"})
        with contextlib.suppress(OSError, ssl.SSLError):
            trust = ssl.create_default_context(cafile=str(self.layout.certificate))
            with urllib.request.urlopen(request, timeout=5, context=trust) as answer:
                content = answer.read()
            return json.loads(content) if content[:1] == b"{" else content
        return None

    def node_is_ready(self) -> bool:
        node = self.ask(f"/api/v1/nodes/{NODE}")
        conditions = node.get("status", {}).get("conditions", []) if isinstance(node, dict) else []
        return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)

    def _start(self, daemon: str) -> None:
        with (self.layout.logs / f"{daemon}.log").open("ab") as log:
            process = subprocess.Popen(
                command(daemon, self.layout), stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.daemons[daemon] = process
        part = self.layout.pid(f".{daemon}")
        part.write_text(str(process.pid))
        part.rename(self.layout.pid(daemon))


def remove_leftovers(layout: Layout) -> None:
    """Remove a cluster whose keeper was killed."""
    control_groups.remove(layout.control_group)
    shutil.rmtree(layout.directory, ignore_errors=True)


def keep(layout: Layout, images: list[str]) -> None:
    """Run a cluster until nobody uses it, and remove it."""
    group = layout.control_group
    part = layout.owner.with_name(".owner")
    owner = part.open("w")
    fcntl.flock(owner, fcntl.LOCK_EX)
    part.rename(layout.owner)  # whoever looks for clusters without keepers sees the file only when it is locked
    keeper = Keeper(layout)
    with namespaces.mount_points():
        with namespaces.way_back():
            try:
                control_groups.create(group)
                control_groups.join(group)
                namespaces.set_up(layout.directory)
                keeper.start(images)
                while True:
                    keeper.turn()
            except Deserted:
                pass
            finally:
                keeper.end()
        if layout.ready.exists():  # else the starter reads the logs and removes the directory
            shutil.rmtree(layout.directory, ignore_errors=True)


def main() -> int:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # Ctrl-C in the terminal is for the tests, which then leave the cluster
    layout = Layout(Path(sys.argv[1]))
    os.chdir(layout.directory)
    os.environ |= {"CONTAINERD_ADDRESS": str(layout.socket), "CONTAINERD_NAMESPACE": "k8s.io"}
    try:
        keep(layout, sys.argv[2:])
    except (Failed, OSError, subprocess.SubprocessError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
