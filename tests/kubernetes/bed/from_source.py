"""Build the daemons of Kubernetes from the Go module proxy."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

VERSION = "v1.34.4"
"""The version of Kubernetes. From 1.35 on, kubelets refuse control groups of version 1 unless they are configured otherwise."""

DAEMONS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
GO_MODULE = """\
module wkpipe.local/kubernetes

go {go}

{godebug}

require k8s.io/kubernetes {version}

replace (
{replaced}
)
"""


@dataclass(frozen=True)
class Go:
    """The Go compiler in a directory, with caches of its own."""

    directory: Path
    caches: Path

    def __call__(self, *arguments: str) -> str:
        """Run a command of Go and return its output."""
        settings = {
            "GOPATH": str(self.caches),
            "GOMODCACHE": str(self.caches / "modules"),
            "GOCACHE": str(self.caches / "objects"),
            "GOFLAGS": "-buildvcs=false -modcacherw",
            "CGO_ENABLED": "0",
        }
        command = ["go", *arguments]
        done = subprocess.run(command, cwd=self.directory, env=os.environ | settings, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"go {' '.join(arguments[:2])} failed:\n{done.stderr[-4000:]}")
        return done.stdout


def build_kubernetes(target: Path) -> None:
    """Build the four daemons with one `go build`, so that they share the compilation of what they have in common."""
    caches = target.with_suffix(".go")  # a build that is killed is continued with them
    work = target / "module"
    work.mkdir()
    go = Go(work, caches)
    _write_module(go)
    go("mod", "tidy", "-e")
    package = "k8s.io/component-base/version"
    settings = {
        f"{package}.gitVersion": VERSION,
        f"{package}.gitMajor": "1",
        f"{package}.gitMinor": VERSION.split(".")[1],
        f"{package}.gitTreeState": "clean",
        "k8s.io/client-go/pkg/version.gitVersion": VERSION,
    }
    linker = " ".join(["-s -w", *(f"-X {name}={value}" for name, value in settings.items())])
    go("build", "-mod=mod", "-trimpath", "-ldflags", linker, "-o", f"{target}/", *_commands())
    shutil.rmtree(work)
    shutil.rmtree(caches)


def _write_module(go: Go) -> None:
    """Write a Go module that requires Kubernetes.

    Kubernetes requires its own libraries as directories of its source tree, which other modules do not see. They are published
    under corresponding versions: v0.34.4 belongs to v1.34.4.
    """
    described = go("mod", "download", "-json", f"k8s.io/kubernetes@{VERSION}")
    found = re.search(r'"GoMod": "([^"]+)"', described)
    assert found, described
    upstream = Path(found[1]).read_text()
    libraries = re.findall(r"^\t(k8s\.io/\S+) => \./staging", upstream, re.MULTILINE)
    (go.directory / "go.mod").write_text(
        GO_MODULE.format(
            go=re.findall(r"^go (\S+)$", upstream, re.MULTILINE)[0],
            godebug="\n".join(re.findall(r"^godebug \w.*$", upstream, re.MULTILINE)),
            version=VERSION,
            replaced="\n".join(f"\t{library} => {library} v0{VERSION.removeprefix('v1')}" for library in libraries),
        )
    )
    imports = "\n".join(f'\t_ "{command}"' for command in _commands())
    (go.directory / "tools.go").write_text(f"//go:build tools\n\npackage tools\n\nimport (\n{imports}\n)\n")


def _commands() -> list[str]:
    return [f"k8s.io/kubernetes/cmd/{daemon}" for daemon in DAEMONS]
