"""OCI image archives: what `skopeo`, `podman load` and `ctr images import` read. The same layers and settings give the same bytes."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from containers.layers import EPOCH, digest_of, pieces_of

_TYPES = "application/vnd.oci.image"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Names of architectures in images by the kernel's."""


def write_archive(target: Path, name: str, architecture: str, settings: dict[str, Any], layers: Sequence[Path]) -> None:
    """Write an archive of one image. `settings` are the `config` object of the OCI image specification."""
    digests = [digest_of(pieces_of(layer)) for layer in layers]
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_TYPES}.manifest.v1+json",
        "config": _descriptor(_json(config), "config.v1+json"),
        "layers": [
            {"mediaType": f"{_TYPES}.layer.v1.tar", "digest": f"sha256:{digest}", "size": layer.stat().st_size}
            for digest, layer in zip(digests, layers, strict=True)
        ],
    }
    entry = _descriptor(_json(manifest), "manifest.v1+json")
    entry["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    part = target.with_name(target.name + ".part")
    with tarfile.open(part, "w", format=tarfile.PAX_FORMAT) as tar:
        _put(tar, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        _put(tar, "index.json", _json({"schemaVersion": 2, "manifests": [entry]}))
        for blob in (_json(config), _json(manifest)):
            _put(tar, f"blobs/sha256/{digest_of([blob])}", blob)
        for digest, layer in dict(zip(digests, layers, strict=True)).items():
            with layer.open("rb") as file:
                tar.addfile(_info(f"blobs/sha256/{digest}", layer.stat().st_size), file)
    part.rename(target)


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _descriptor(content: bytes, kind: str) -> dict[str, Any]:
    return {"mediaType": f"{_TYPES}.{kind}", "digest": f"sha256:{digest_of([content])}", "size": len(content)}


def _info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = size, EPOCH
    return info


def _put(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    tar.addfile(_info(name, len(content)), io.BytesIO(content))
