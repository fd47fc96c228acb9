"""``python -m containers.build``: build the image of wkpipe from Debian's packages and the wheel, without a container engine."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from containers.apt import MIRROR_VARIABLE, SUITE, Impossible
from containers.cache import made_once
from containers.containerfile import read_recipe
from containers.debian_layer import PYTHON, make_debian
from containers.layers import EPOCH
from containers.oci import ARCHITECTURES, write_archive
from containers.python_layer import make_python

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
REQUIREMENTS = HERE / "requirements.txt"
REGISTRY = "localhost"


def build_image(output: Path, registry: str = REGISTRY) -> str:
    """Write the three layers, and an archive of the image, into a directory; return the image's name, with wkpipe's version as tag.

    The layers of Debian and of the packages come from the cache if they have been built from the same recipe.

    Raises:
        Impossible: something that the build needs is missing here.
    """
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise Impossible(f"{machine} is none of {', '.join(ARCHITECTURES)}")
    output.mkdir(parents=True, exist_ok=True)
    debian = made_once(f"image/debian-{SUITE}-{machine}-{_key('apt', 'layers', 'debian_layer')}", make_debian)
    key = _key("layers", "debian_layer", "python_layer", REQUIREMENTS.name)
    python = made_once(
        f"image/python-{SUITE}-{machine}-{key}",
        lambda target: make_python(target, debian / "root", ["--requirement", str(REQUIREMENTS)]),
    )
    layers = {"debian.tar": debian / "layer.tar", "python.tar": python / "layer.tar", "wkpipe.tar": output / "wkpipe.tar"}
    with tempfile.TemporaryDirectory() as scratch:
        wheel = _wheel(Path(scratch))
        make_python(Path(scratch), debian / "root", [str(wheel)])
        shutil.move(Path(scratch) / "layer.tar", layers["wkpipe.tar"])
    for name in ("debian.tar", "python.tar"):
        (output / name).unlink(missing_ok=True)
        try:
            (output / name).hardlink_to(layers[name])
        except OSError:  # the cache is on another file system
            shutil.copyfile(layers[name], output / name)
    version = wheel.name.split("-")[1]
    (output / "VERSION").write_text(f"{version}\n")
    recipe = read_recipe((HERE / "Containerfile").read_text(encoding="utf-8"), {"VERSION": version})
    # A tag has no "+", which a local version has.
    name = f"{registry}/wkpipe:{version.replace('+', '-')}"
    archive = output / "wkpipe.oci.tar"
    write_archive(archive, name, ARCHITECTURES[machine], recipe.settings, [layers[layer] for layer in recipe.layers])
    return name


def lock() -> None:
    """Choose the newest versions of all packages that wkpipe needs, and write them into the list of requirements."""
    if sys.version_info[:2] != tuple(map(int, PYTHON.split("."))):
        raise Impossible(f"the image has Python {PYTHON}: make image-lock PYTHON=python{PYTHON}")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    report = subprocess.run([*command, f"{REPOSITORY}[kubernetes]"], stdout=subprocess.PIPE, text=True, check=True).stdout
    found = {item["metadata"]["name"]: item["metadata"]["version"] for item in json.loads(report)["install"]}
    del found["wkpipe"]
    comment = re.match(r"(#.*\n)*", REQUIREMENTS.read_text(encoding="utf-8"))
    lines = [f"{name}=={version}\n" for name, version in sorted(found.items(), key=lambda pair: pair[0].lower())]
    REQUIREMENTS.write_text((comment[0] if comment else "") + "".join(lines), encoding="utf-8")


def _key(*modules: str) -> str:
    """Return a digest of the recipe of a layer: modules of this package, files, and settings."""
    names = [module if "." in module else f"{module}.py" for module in modules]
    settings = f"{EPOCH} {os.environ.get(MIRROR_VARIABLE)}".encode()
    return hashlib.sha256(b"".join((HERE / name).read_bytes() for name in names) + settings).hexdigest()[:12]


def _wheel(directory: Path) -> Path:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory), str(REPOSITORY)]
    done = subprocess.run(command, env=os.environ | {"SOURCE_DATE_EPOCH": str(EPOCH)}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Impossible(f"the wheel is not built:\n{done.stdout}{done.stderr}")
    (wheel,) = directory.glob("*.whl")
    return wheel


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m containers.build", description="Build the image of wkpipe.")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "dist" / "image", help="directory of the layers and the archive")
    parser.add_argument("--registry", default=REGISTRY, help="the image's name is REGISTRY/wkpipe:VERSION")
    parser.add_argument("--lock", action="store_true", help="only choose the versions of the packages again")
    arguments = parser.parse_args()
    try:
        if arguments.lock:
            lock()
        else:
            name = build_image(arguments.output, arguments.registry)
            print(f"{arguments.output / 'wkpipe.oci.tar'}: {name}")
    except Impossible as reason:
        print(f"the image cannot be built here: {reason}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
