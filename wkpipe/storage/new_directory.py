"""A new directory with files that becomes visible at once, outside of any dataset."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence
from pathlib import Path

from wkpipe.errors import AlreadyExists, WkpipeError
from wkpipe.storage import access, disk
from wkpipe.storage.local import Local
from wkpipe.storage.opened import names_in
from wkpipe.storage.place import Place
from wkpipe.storage.process import is_signature_of_dead, signature
from wkpipe.storage.scratch import Scratch

_ENDING = ".making"


def write_files(place: Place, files: Sequence[tuple[str, bytes]]) -> None:
    """Write files of a place durably; if one cannot be written, none gets its name.

    Raises:
        NotWritable: the place refuses it.
    """
    group = place.group()
    try:
        for key, content in files:
            group.add(key, content)
        group.commit()
    finally:
        group.discard()


def check_free_name(target: Path) -> None:
    """Refuse a name that is taken; an empty directory is fine.

    Raises:
        AlreadyExists: there is something else.
    """
    if access.is_link(target) or (access.exists(target) and (not access.is_directory(target) or names_in(str(target)))):
        raise AlreadyExists("it exists already", where=target, fix="choose another name, or remove it")


def make_directory_with(target: Path, files: Sequence[tuple[str, bytes]]) -> None:
    """Make a directory that has all files as soon as it has its name; what killed calls have left of it is removed.

    Raises:
        AlreadyExists: the name is taken; see `check_free_name`.
        NotWritable: the disk refuses it.
    """
    check_free_name(target)
    disk.make_directory(target.parent)
    Local(target.parent).check_room(sum(len(content) for _, content in files))
    _remove_dead(target)
    scratch = Scratch(target.parent / f".{target.name}.{uuid.uuid4().hex}.{signature()}{_ENDING}")
    made = Local(scratch.new_path(), scratch)
    try:
        write_files(made, files)
        made.move_to(Local(target))
    finally:
        scratch.remove()


def _remove_dead(target: Path) -> None:
    for name in names_in(str(target.parent)):
        if name.startswith(f".{target.name}.") and name.endswith(_ENDING):
            signed = name.removesuffix(_ENDING).rpartition(".")[2]
            if is_signature_of_dead(signed):
                with contextlib.suppress(WkpipeError):  # another call may remove it too
                    disk.remove_tree(target.parent / name, target.parent)
