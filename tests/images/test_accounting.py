"""Accounts: whatever a folder contains, what is used and what is left out are all that is there."""

from __future__ import annotations

import json
import os
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from wkpipe.errors import InputRefused
from wkpipe.images import Account, SourceOptions, inspect_source
from wkpipe.images.accounting import FILE, MOST_STORED, LeftOut

NAMES = ["s1.tif", "s2.tif", "s03.tif", "x.png", "notes.txt", "._s1.tif", ".DS_Store", "v.mrc", "overview.jpg", "without", "S4.TIF"]


def test_an_account_that_does_not_add_up_is_a_defect():
    with pytest.raises(ValueError, match="scans: 3 used and 1 left out of 5"):
        Account("scans", FILE, 5, 3, (LeftOut("hidden", (".x",)),))


def test_a_stored_account_keeps_the_number_of_names_that_it_does_not_list():
    account = Account.of_names("scans", FILE, 1, {str(i): "hidden" for i in range(MOST_STORED + 5)})
    (left,) = json.loads(json.dumps(account.to_json()))["left_out"]
    assert (left["count"], len(left["names"])) == (MOST_STORED + 5, MOST_STORED)


def entries_of(folder: Path) -> int:
    """Count the files below a folder; something hidden counts once, whatever is in it."""
    count = 0
    for entry in os.scandir(folder):
        is_tree = entry.is_dir() and not entry.name.startswith(".")
        count += entries_of(Path(entry.path)) if is_tree else 1
    return count


TREES = st.dictionaries(st.sampled_from(["", "a", "b/c", ".git", "__MACOSX"]), st.sets(st.sampled_from(NAMES), max_size=6), max_size=4)


@settings(max_examples=40, deadline=None)
@given(TREES, st.sampled_from(["folder", "zip", "tar", "concat", "pattern", "family"]))
def test_used_and_left_out_are_all_that_is_there(temporary, tree, how):
    with tempfile.TemporaryDirectory(dir=temporary) as name:
        root = Path(name)
        for folder, names in tree.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for file in names:
                put(root / folder / file)
        source, present = packed(root, how)
        options = {"concat": "z"} if how == "concat" else {"pattern": "{name}{z}.tif"} if how == "pattern" else {}
        if how == "family":
            options = {"family": (".tif",)}
        try:
            inspection = inspect_source(source, category="color", options=SourceOptions(missing="fill", **options))
        except InputRefused:
            return
        account = inspection.accounts[0]
        assert account.present == present
        used = {file.path for stack in inspection for file in stack.files if file.size}  # some are repeated, or no files
        assert account.used == len(used)
        named = {name for left in account.left_out for name in left.names}
        assert len(named) == account.left_out_count
        assert not named & {str(path.relative_to(source)) for path in used}


def packed(root: Path, how: str) -> tuple[Path, int]:
    """Return the tree, or an archive of it beside it, and how many files or members it has."""
    if how not in ("zip", "tar"):
        return root, entries_of(root)
    files = [path for path in root.rglob("*") if path.is_file()]
    target = root.with_name(f"{root.name}.{how}")
    if how == "zip":
        with zipfile.ZipFile(target, "w") as file:
            for path in files:
                file.write(path, path.relative_to(root))
    else:
        with tarfile.open(target, "w") as archive:
            archive.add(root, ".")
    target.rename(root / target.name)  # the directory is removed with all that is in it
    return root / target.name, len(files)


def put(path: Path) -> None:
    if path.suffix.lower() in (".tif", ".png", ".jpg") and not path.name.startswith("."):
        from PIL import Image

        plane = np.zeros((4, 5), np.uint8)
        if path.suffix.lower() == ".tif":
            tifffile.imwrite(path, plane, photometric="minisblack")
        else:
            Image.fromarray(plane).save(path)
    else:
        path.write_text("x")
