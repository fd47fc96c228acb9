"""The programs of a Kubernetes cluster: four built from the Go module proxy, the others from Debian's packages. Nothing is installed.

``python -m tests.kubernetes.bed.parts`` builds what the cache does not have; it needs only the standard library.

Measured on two cores with empty caches: Kubernetes takes about 500 CPU seconds, so 4 to 5 minutes if nothing else runs, 8 to 20 at a load
of 5 to 14; the rest takes half a minute. During the build Go needs 3.6 GB for modules and objects; 350 MB of programs are kept.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from containers.apt import SUITE, Apt, Impossible
from containers.cache import cached, made_once
from containers.layers import Layer
from containers.oci import ARCHITECTURES, write_archive
from tests.kubernetes.bed.from_source import VERSION, Go, build_kubernetes
from tests.kubernetes.bed.host import SEARCH_PATH, Unavailable, check_builder, check_host

PACKAGES = ("containerd", "runc", "containernetworking-plugins", "etcd-server", "libseccomp2")
PAUSE_IMAGE = "localhost/pause:1"


@dataclass(frozen=True)
class Parts:
    """The directories of the cache that hold the programs."""

    kubernetes: Path
    debian: Path
    pause: Path

    @property
    def search_path(self) -> str:
        """The PATH with the cluster's programs in front."""
        own = (self.kubernetes, self.debian / "usr/bin", self.debian / "usr/sbin")
        return os.pathsep.join([*map(str, own), SEARCH_PATH])

    @property
    def libraries(self) -> Path:
        """The directory of libseccomp, which runc needs and small hosts do not have."""
        return self.debian / "usr/lib" / f"{platform.machine()}-linux-gnu"

    @property
    def network_plugins(self) -> Path:
        return self.debian / "usr/lib/cni"


def names() -> tuple[str, str, str]:
    """Return the names of the parts in the cache; versions and architecture are in them."""
    machine = platform.machine()
    return f"kubernetes/{VERSION}-{machine}", f"kubernetes/debian-{SUITE}-{machine}", f"kubernetes/pause-{machine}"


def built_parts() -> Parts:
    """Return the parts from the cache.

    Raises:
        Unavailable: they have not been built.
    """
    found = [cached(name) for name in names()]
    if None in found:
        raise Unavailable("its programs are not built: make kubernetes-parts")
    return Parts(*(path for path in found if path))


def build_parts() -> Parts:
    """Build what the cache does not have.

    Raises:
        Unavailable: Go or apt are missing.
    """
    kubernetes, debian, pause = names()
    if not all(map(cached, names())):
        check_builder()
    return Parts(made_once(kubernetes, build_kubernetes), made_once(debian, _unpack_debian), made_once(pause, _build_pause))


def _unpack_debian(target: Path) -> None:
    apt = Apt.updated(target / "apt")
    for package in apt.alone(PACKAGES):
        subprocess.run(["dpkg-deb", "--extract", package, target], check=True)
    shutil.rmtree(apt.directory)


def _build_pause(target: Path) -> None:
    """Build the image of the container that holds a pod's namespaces."""
    source = Path(__file__).with_name("pause.go")
    caches = target / "go"
    Go(target, caches)("build", "-trimpath", "-ldflags", "-s -w", "-o", str(target / "pause"), str(source))
    shutil.rmtree(caches)
    layer = Layer()
    layer.add("pause", (target / "pause").read_bytes(), 0o755)
    layer.write(target / "layer.tar")
    settings = {"Entrypoint": ["/pause"], "User": "65535:65535"}
    write_archive(target / "pause.tar", PAUSE_IMAGE, ARCHITECTURES[platform.machine()], settings, [target / "layer.tar"])


def main() -> int:
    if os.environ.get("KUBECONFIG"):
        return 0  # the tests use that cluster
    try:
        check_host()
        build_parts()
    except Unavailable as reason:
        print(f"no Kubernetes can run here, so its tests are skipped: {reason}", file=sys.stderr)
    except (Impossible, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
