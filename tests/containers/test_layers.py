"""Layers and archives: the same files give the same bytes, and every digest is right."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from containers.layers import EPOCH, Layer
from containers.oci import write_archive


def _tree(directory: Path, names: list[str]) -> Path:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        if name.startswith("bin/"):
            path.chmod(0o755)
    return directory


def test_bytes_depend_on_names_contents_and_the_right_to_execute_only(tmp_path: Path) -> None:
    names = ["bin/tool", "data/a", "data/deep/b"]
    first = _tree(tmp_path / "first", names)
    mask = os.umask(0o077)
    try:
        second = _tree(tmp_path / "second", names[::-1])
    finally:
        os.umask(mask)
    for path in second.rglob("*"):
        os.utime(path, (1, 1))
    written = []
    for directory in (first, second):
        layer = Layer()
        layer.add_tree(directory, "opt")
        layer.write(directory.with_suffix(".tar"))
        written.append(directory.with_suffix(".tar").read_bytes())
    assert written[0] == written[1]
    with tarfile.open(tmp_path / "first.tar") as tar:
        members = [(info.name, oct(info.mode), info.uid, info.mtime) for info in tar]
    directories = [(name, "0o755", 0, EPOCH) for name in ("opt", "opt/bin")]
    assert members[:3] == [*directories, ("opt/bin/tool", "0o755", 0, EPOCH)]
    assert ("opt/data/a", "0o644", 0, EPOCH) in members


def test_packages_are_merged_into_usr_and_lose_setuid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package is a tar file to the layer; `dpkg-deb` is replaced by a program that prints one."""
    with tarfile.open(tmp_path / "fsys.tar", "w") as tar:
        for name, mode in (("./bin/su", 0o4755), ("./usr/share/man/su.1", 0o644), ("./usr/share/doc/su/copyright", 0o644)):
            info = tarfile.TarInfo(name)
            info.mode = mode
            tar.addfile(info)
    program = tmp_path / "bin" / "dpkg-deb"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$1" = --fsys-tarfile ] && exec cat {tmp_path}/fsys.tar\necho "Package: su"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    layer = Layer()
    layer.add_package(tmp_path / "su_1_all.deb")
    assert {path: oct(info.mode) for path, (info, _) in layer.members.items()} == {
        "usr/bin/su": "0o755",
        "usr/share/doc/su/copyright": "0o644",
        "var/lib/dpkg/status.d/su": "0o644",
    }


def test_an_archive_is_consistent(tmp_path: Path) -> None:
    layers = []
    for name in ("one", "two"):
        layer = Layer()
        layer.add(f"{name}/file", name.encode())
        layers.append(tmp_path / f"{name}.tar")
        layer.write(layers[-1])
    write_archive(tmp_path / "image.tar", "localhost/x:1", "amd64", {"Cmd": ["x"]}, layers)
    with tarfile.open(tmp_path / "image.tar") as tar:
        files = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]

    def blob(descriptor: dict[str, Any]) -> bytes:
        algorithm, digest = descriptor["digest"].split(":")
        content = files[f"blobs/{algorithm}/{digest}"]
        assert (hashlib.new(algorithm, content).hexdigest(), len(content)) == (digest, descriptor["size"])
        return content

    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == "localhost/x:1"
    manifest = json.loads(blob(entry))
    config = json.loads(blob(manifest["config"]))
    assert config["config"] == {"Cmd": ["x"]}
    assert [blob(layer) for layer in manifest["layers"]] == [layer.read_bytes() for layer in layers]
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]  # they are not compressed
