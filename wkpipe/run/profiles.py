"""Snakemake's profiles: where it looks for them, their values, and how wkpipe's own are installed."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final

import yaml

from wkpipe.errors import AlreadyExists, UsageError
from wkpipe.run.workflow_files import workflow_root
from wkpipe.storage.group import replace_files
from wkpipe.storage.scratch import Scratch

CONFIG_NAME: Final = "config.yaml"
_CONFIG: Final = re.compile(r"(?:profile|config)(?:\.v(\d+)\+)?\.yaml")


def profile_homes() -> list[Path]:
    """Return the directories in which Snakemake looks for a profile's name: the user's, then that of all users."""
    homes = (os.environ.get("XDG_CONFIG_HOME") or "~/.config", (os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")[0])
    return [Path(home).expanduser() / "snakemake" for home in homes]


def profile_file(directory: Path) -> Path | None:
    """Return the file of a profile that Snakemake reads: the one for its newest version; None if there is none."""
    found = {path: int(match[1] or 0) for path in directory.glob("*.yaml") if (match := _CONFIG.fullmatch(path.name))}
    return max(found, key=found.__getitem__, default=None)


def profile_path(name: str) -> Path:
    """Return the directory of a Snakemake profile that is given by path or name.

    Raises:
        UsageError: there is no such profile.
    """
    for directory in (Path(name), *(home / name for home in profile_homes())):
        if profile_file(directory) is not None:
            return directory.resolve()
    raise UsageError(
        "there is no such profile",
        where=f"--profile {name}",
        fix=f"give a directory with a {CONFIG_NAME}, or a name below {profile_homes()[0]}",
    )


def profile_values(directory: Path) -> dict[str, Any]:
    """Return the values in a profile's file.

    Raises:
        UsageError: it cannot be read.
    """
    file = profile_file(directory)
    try:
        values = {} if file is None else yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from None
    return values if isinstance(values, dict) else {}


def install_profile(name: str, new_name: str, overwrite: bool = False) -> Path:
    """Copy one of wkpipe's profiles to where Snakemake finds it as `new_name` from any directory; return its new file.

    Raises:
        UsageError: there is no such profile, or the new name is not valid.
        AlreadyExists: another or a changed profile is there, and must not be overwritten.
        NotWritable: it cannot be written there.
    """
    profiles = workflow_root() / "profiles"
    names = sorted(path.parent.name for path in profiles.glob(f"*/{CONFIG_NAME}"))
    if name not in names:
        raise UsageError(f"there is no profile {name!r}", fix=f"choose one of: {', '.join(names)}")
    if not re.fullmatch(r"\w[\w.-]*", new_name):
        raise UsageError(f"--name {new_name!r} is not valid", expected="letters, digits, dots, dashes, like my-cluster")
    directory = profile_homes()[0] / new_name
    installed = directory / CONFIG_NAME
    if (found := profile_file(directory)) not in (None, installed):
        raise AlreadyExists(f"{found} is another profile of that name, and Snakemake would still use it", fix="choose another --name")
    files = {directory / path.name: path.read_bytes() for path in sorted((profiles / name).iterdir()) if path.is_file()}
    changed = [path for path, data in files.items() if path.exists() and path.read_bytes() != data]
    if changed and not overwrite:
        raise AlreadyExists(
            f"{changed[0]} exists and differs from wkpipe's", fix="keep it, replace it with --force, or choose another --name"
        )
    replace_files(files, Scratch(directory))
    return installed
