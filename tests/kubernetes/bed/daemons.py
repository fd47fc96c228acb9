"""The commands of the cluster's daemons."""

from __future__ import annotations

from tests.kubernetes.bed.layout import ADDRESS, NODE, SERVICE, Layout

DAEMONS = ("etcd", "containerd", "apiserver", "controllers", "scheduler", "kubelet")
LOST_SECONDS = 30
"""A node that has been silent for this long is lost."""

PATIENCE_SECONDS = 10
"""Pods on a lost node are deleted after this time (300 s elsewhere)."""

CALLS = {"kube-api-qps": 1000, "kube-api-burst": 1000}
"""By default, the controllers make 20 calls a second, and tests wait while the namespaces of earlier ones are being deleted."""


def command(daemon: str, layout: Layout) -> list[str]:
    """Return the command of a daemon."""
    program, options = _COMMANDS[daemon](layout)
    return [program, *(f"--{name}" if value is True else f"--{name}={value}" for name, value in options.items())]


_Command = tuple[str, dict[str, object]]


def _etcd(layout: Layout) -> _Command:
    client, peer = "http://127.0.0.1:2379", "http://127.0.0.1:2380"
    return "etcd", {
        "name": "bed",
        "data-dir": layout.directory / "etcd",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"bed={peer}",
        "unsafe-no-fsync": True,
    }


def _containerd(layout: Layout) -> _Command:
    return "containerd", {"config": layout.directory / "containerd.toml"}


def _apiserver(layout: Layout) -> _Command:
    return "kube-apiserver", {
        "etcd-servers": "http://127.0.0.1:2379",
        "bind-address": "0.0.0.0",
        "advertise-address": ADDRESS,
        "secure-port": 443,
        "cert-dir": layout.keys,
        "token-auth-file": layout.keys / "tokens.csv",
        "authorization-mode": "RBAC",
        "service-cluster-ip-range": f"{SERVICE}/24",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": layout.keys / "accounts.pub",
        "service-account-signing-key-file": layout.keys / "accounts.key",
        "endpoint-reconciler-type": "none",
        "kubelet-preferred-address-types": "InternalIP",
        "default-not-ready-toleration-seconds": PATIENCE_SECONDS,
        "default-unreachable-toleration-seconds": PATIENCE_SECONDS,
        "v": 1,
    }


def _controllers(layout: Layout) -> _Command:
    return "kube-controller-manager", {
        "kubeconfig": layout.kubeconfig,
        "leader-elect": "false",
        "service-account-private-key-file": layout.keys / "accounts.key",
        "root-ca-file": layout.certificate,
        "bind-address": "127.0.0.1",
        "cert-dir": layout.keys / "controllers",
        "allocate-node-cidrs": "false",
        "use-service-account-credentials": "false",
        "node-monitor-grace-period": f"{LOST_SECONDS}s",
        "terminated-pod-gc-threshold": 200,
        **CALLS,
        "v": 1,
    }


def _scheduler(layout: Layout) -> _Command:
    return "kube-scheduler", {
        "kubeconfig": layout.kubeconfig,
        "authentication-kubeconfig": layout.kubeconfig,
        "authorization-kubeconfig": layout.kubeconfig,
        "leader-elect": "false",
        "bind-address": "127.0.0.1",
        "cert-dir": layout.keys / "scheduler",
        **CALLS,
        "v": 1,
    }


def _kubelet(layout: Layout) -> _Command:
    return "kubelet", {
        "config": layout.directory / "kubelet.yaml",
        "kubeconfig": layout.kubeconfig,
        "root-dir": layout.directory / "kubelet",
        "cert-dir": layout.keys / "kubelet",
        "hostname-override": NODE,
        "node-ip": ADDRESS,
        "v": 1,
    }


_COMMANDS = {
    "etcd": _etcd,
    "containerd": _containerd,
    "apiserver": _apiserver,
    "controllers": _controllers,
    "scheduler": _scheduler,
    "kubelet": _kubelet,
}
