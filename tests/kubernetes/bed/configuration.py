"""The content of the cluster's configuration files."""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path

import yaml

from tests.kubernetes.bed.layout import ADDRESS, API, Layout
from tests.kubernetes.bed.parts import PAUSE_IMAGE

CONTAINERD = """\
version = 2
root = "{directory}/containerd"
state = "{directory}/run/containerd"
disabled_plugins = [{disabled}]
[grpc]
  address = "{socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  disable_apparmor = true
  restrict_oom_score_adj = true  # hosts without CAP_SYS_RESOURCE start no container otherwise
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  max_container_log_line_size = 65536
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{network_plugins}"
    conf_dir = "{directory}/network"
"""
NOT_USED = [
    *(f"io.containerd.snapshotter.v1.{name}" for name in ("btrfs", "devmapper", "zfs", "aufs")),
    "io.containerd.tracing.processor.v1.otlp",
    "io.containerd.internal.v1.tracing",
]
SUBNET = ADDRESS.rpartition(".")[0]


def write_configuration(layout: Layout, network_plugins: Path) -> None:
    """Write all files that the daemons read, with new keys and tokens."""
    directory = layout.directory
    containerd = CONTAINERD.format(
        directory=directory,
        socket=layout.socket,
        pause=PAUSE_IMAGE,
        network_plugins=network_plugins,
        disabled=", ".join(map(json.dumps, NOT_USED)),
    )
    (directory / "containerd.toml").write_text(containerd)
    (directory / "network" / "10-pods.conflist").write_text(json.dumps(_network(directory)))
    (directory / "kubelet.yaml").write_text(yaml.safe_dump(_kubelet(layout)))
    # Lookups of names fail at once: nothing listens there.
    (directory / "resolv.conf").write_text("nameserver 127.0.0.1\noptions attempts:1 timeout:1\n")
    private = layout.keys / "accounts.key"
    _openssl("genrsa", "-out", str(private), "2048")
    _openssl("rsa", "-in", str(private), "-pubout", "-out", str(layout.keys / "accounts.pub"))
    admin, user = secrets.token_hex(16), secrets.token_hex(16)
    tokens = layout.keys / "tokens.csv"
    tokens.touch(mode=0o600)
    tokens.write_text(f'{admin},admin,admin,"system:masters"\n{user},wkpipe,wkpipe\n')
    private.chmod(0o600)
    for path, token in ((layout.kubeconfig, admin), (layout.user_kubeconfig, user)):
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(_client(layout, token)))


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], capture_output=True, check=True)


def _client(layout: Layout, token: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bed", "cluster": {"server": API, "certificate-authority": str(layout.certificate)}}],
        "users": [{"name": "me", "user": {"token": token}}],
        "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": "me"}}],
        "current-context": "bed",
    }


def _network(directory: Path) -> dict[str, object]:
    addresses = {
        "type": "host-local",
        "dataDir": f"{directory}/network/addresses",
        "subnet": f"{SUBNET}.0/24",
        "rangeStart": f"{SUBNET}.10",
        "gateway": ADDRESS,
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipMasq": False, "hairpinMode": True, "ipam": addresses}
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}


def _kubelet(layout: Layout) -> dict[str, object]:
    directory = layout.directory
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        # Only the cluster's own network reaches the kubelet.
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "containerRuntimeEndpoint": f"unix://{layout.socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{layout.control_group}",
        "cgroupsPerQOS": True,
        "enforceNodeAllocatable": ["pods"],
        "address": ADDRESS,
        "port": 10250,
        "readOnlyPort": 0,
        "healthzBindAddress": "127.0.0.1",
        "failSwapOn": False,
        "resolvConf": "",
        "podLogsDir": f"{directory}/podlogs",
        "volumePluginDir": f"{directory}/volumeplugins",
        "makeIPTablesUtilChains": False,
        # No pod is evicted and no image removed because of what else the host does.
        "evictionHard": {"memory.available": "200Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "imageMinimumGCAge": "24h",
        "maxPods": 110,
        "kubeAPIQPS": 1000,
        "kubeAPIBurst": 1000,
        "nodeStatusUpdateFrequency": "5s",
        "syncFrequency": "10s",
        "shutdownGracePeriod": "0s",
        "registerNode": True,
    }
