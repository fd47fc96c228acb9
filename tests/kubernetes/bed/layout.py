"""Where a cluster keeps its files: one directory, and control groups named after it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")
ADDRESS = "10.244.0.1"
"""The node's address, in the cluster's own network."""

API = f"https://{ADDRESS}"
SERVICE = "10.245.0.1"
"""The address at which pods call the API: that of the service `kubernetes`. Nothing forwards it, so the API server listens there itself."""

NODE = "node1"


@dataclass(frozen=True)
class Layout:
    """The paths of a cluster."""

    directory: Path

    @property
    def user(self) -> Path:
        """A file that is locked by the process that uses the cluster. The keeper ends the cluster when it is not."""
        return self.directory / "user"

    @property
    def owner(self) -> Path:
        """A file that is locked for as long as the keeper lives."""
        return self.directory / "owner"

    @property
    def ready(self) -> Path:
        """A file that exists as soon as pods can run."""
        return self.directory / "ready"

    @property
    def keys(self) -> Path:
        return self.directory / "keys"

    @property
    def logs(self) -> Path:
        return self.directory / "log"

    @property
    def kubeconfig(self) -> Path:
        """The configuration of an administrator."""
        return self.directory / "admin.kubeconfig"

    @property
    def user_kubeconfig(self) -> Path:
        """The configuration of the user `wkpipe`, who has no rights at first."""
        return self.directory / "user.kubeconfig"

    @property
    def certificate(self) -> Path:
        """The certificate that the API server makes for itself."""
        return self.keys / "apiserver.crt"

    @property
    def socket(self) -> Path:
        return self.directory / "run" / "containerd.sock"

    def wanted(self, daemon: str) -> Path:
        """Return the file that exists while the keeper is to keep a daemon running."""
        return self.directory / "wanted" / daemon

    def pid(self, daemon: str) -> Path:
        """Return the file with the process id of a daemon."""
        return self.directory / "pids" / daemon

    @property
    def control_group(self) -> str:
        """The name of the cluster's control group, below which are all its daemons and pods."""
        return "wkpipe-" + hashlib.sha256(str(self.directory).encode()).hexdigest()[:8]

    def create(self) -> None:
        """Create the directories. Users who are not root may read the directory's files that are meant for them."""
        self.directory.chmod(0o755)
        for name in ("keys", "log", "run", "wanted", "pids", "etcd", "kubelet", "network", "containerd", "volumeplugins", "podlogs"):
            (self.directory / name).mkdir()
        self.keys.chmod(0o755)
        (self.directory / "etcd").chmod(0o700)
        self.user.touch()
