"""Change the state of a dataset as an attacker would: every file, every key, links at every level."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google_crc32c

NAMES = (
    "tmp/000009", "tmp/x.tmp", "tmp", "runs/current", "runs/aaaaaaaaaaaa", "runs", "locks/run.lease", "locks/metadata.lock", "locks/epoch",
    "locks/x.tmp", "locks", "conversion.json", "copies", "copies/conversion.json", "copies/datasource-properties.json", "ledger",
    "ledger/stack", "ledger/stack/1", "ledger/stack/2/recipe.json", "ledger/stack/8", "ledger/stack/2/000001-write-00000000.segment",
    "ledger/other", "remade", "remade/stack", "remade/stack/old", "remade/stack/arrays", "remade/stack/arrays/2", "remade/stack/ledger",
    "remade/stack/ledger/2", "remade/stack/swap.json", "remade/stack/done.json", "remade/other", "uploads", "uploads/0000",
    "uploads/0000/upload.jsonl", "dataset.json", "renaming.json", ".snakemake", "wkpipe", "numpy.py",
)  # fmt: skip
"""Where wkpipe keeps something, or may keep it."""


class Hostile:
    """One case, which can be repeated by its `number`. No command may change `outside`."""

    def __init__(self, number: int, dataset: Path, outside: Path) -> None:
        self.random = random.Random(number)
        self.state = dataset / ".wkpipe"
        self.outside = outside
        self.done: list[str] = []

    def change(self) -> None:
        """Make one to three changes, and note them in `done`."""
        ways = (self.mutate_file, self.mutate_file, self.mutate_json, self.mutate_json, self.mutate_ledger, self.replace, self.link,
                self.link, self.link_directory, self.write_swap, self.write_renaming)  # fmt: skip
        for way in self.random.choices(ways, k=self.random.randint(1, 3)):
            way()

    def _note(self, what: str, path: Path) -> None:
        self.done.append(f"{what} {path.relative_to(self.state.parent)}")

    def _files(self, pattern: str = "*") -> list[Path]:
        return [path for path in sorted(self.state.rglob(pattern)) if path.is_file() and not path.is_symlink()]

    # -- content ------------------------------------------------------------------------------------------------

    def mutate_file(self) -> None:
        """Flip, cut, insert or repeat bytes of a file."""
        if not (files := self._files()):
            return
        path = self.random.choice(files)
        data = bytearray(path.read_bytes())
        at = self.random.randrange(len(data) + 1)
        kind = self.random.randrange(5)
        if kind == 0 and data:
            data[at % len(data)] ^= 1 << self.random.randrange(8)
        elif kind == 1:
            del data[at:]
        elif kind == 2:
            data[at:at] = self.random.randbytes(self.random.choice((1, 40, 5000)))
        elif kind == 3:
            data *= 2
        else:
            data.clear()
        path.write_bytes(data)
        self._note("changed bytes of", path)

    def mutate_json(self) -> None:
        """Replace one value of a JSON file by a hostile one."""
        if not (files := self._files("*.json")):
            return
        path = self.random.choice(files)
        try:
            values = json.loads(path.read_bytes())
        except ValueError:
            return
        path.write_text(json.dumps(self._mutated(values)))
        self._note("changed a value of", path)

    def mutate_ledger(self) -> None:
        """Change records, with right checksums."""
        if not (segments := self._files("*.segment")):
            return
        path = self.random.choice(segments)
        lines = []
        for line in path.read_bytes().splitlines():
            text = line[9:]
            if self.random.random() < 0.5:
                try:
                    text = json.dumps(self._mutated(json.loads(text)), separators=(",", ":")).encode()
                except ValueError:
                    continue
            lines.append(b"%08x %s\n" % (google_crc32c.value(text), text))
        path.write_bytes(b"".join(lines))
        self._note("changed records of", path)

    def _mutated(self, values: Any) -> Any:
        places = list(_leaves(values))
        if not places:
            return self._value()
        put = self.random.choice(places)
        put(self._value())
        return values

    def _value(self) -> Any:
        return self.random.choice((
            None, True, -1, 0, 3, 2**31, 2**53, 10**30, 1.5, float("inf"), "", ".", "..", "1", "2-2-2", "../outside", "a/b", "a\nb",
            str(self.outside), f"./../{self.outside.name}/precious", "\x1b[2J", "x" * 5000, [], {}, [1, 2], ["../outside"],
            [[0, 0, 0], [9, 9, 9]],
        ))  # fmt: skip

    def write_swap(self) -> None:
        """Write the note of a swap that no run has begun, or change the note of one that a run has begun."""
        names = ["..", ".", "1", "2", "4", "8", "2-2-2", "4-4-4", "../outside", str(self.outside), "old", "stack"]
        mags: list[Any] = [[1, 1, 1], [2, 2, 2], [4, 4, 4], [8, 8, 8], 2, "4", [3, 3, 3]]
        pick = self.random.choice
        new = [{"mag": pick(mags), "path": f"./stack/{pick(names)}"} for _ in range(self.random.randrange(3))]
        note = {
            "old": [pick(mags) for _ in range(self.random.randrange(4))],
            "directories": [pick(names) for _ in range(self.random.randrange(4))],
            "new": new,
        }
        path = self.state / "remade" / "stack" / "swap.json"
        if self._is_free(path):
            path.write_text(json.dumps(note))
            self._note("wrote", path)

    def write_renaming(self) -> None:
        """Write the note of a renaming that no call has begun; none with which a user could have renamed the layer."""
        names = ["..", ".", "", "1", "zarr.json", ".wkpipe", "../outside", str(self.outside), "a/b"]
        pick = self.random.choice
        old, new = pick([(pick([*names, "other"]), pick([*names, "stack", "other"])), ("stack", pick([*names, "stack"]))])
        path = self.state / "renaming.json"
        if self._is_free(path) and (old, new) != ("stack", "1"):
            path.write_text(json.dumps({"old": old, "new": new, "state": pick([str(self.state), str(self.outside), ""])}))
            self._note(f"wrote {old} → {new}", path)

    # -- kinds of files -----------------------------------------------------------------------------------------

    def _is_free(self, path: Path) -> bool:
        """Make room for a name and its parents; False if a link or a file is in the way."""
        for parent in reversed(path.parents):
            if self.state in (parent, *parent.parents) and (parent.is_symlink() or (parent.exists() and not parent.is_dir())):
                return False
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        return True

    def _some_path(self) -> Path:
        there = [path for path in sorted(self.state.rglob("*")) if not path.is_symlink()]
        if there and self.random.random() < 0.5:
            return self.random.choice(there)
        if there and self.random.random() < 0.3:
            directory = self.random.choice([self.state, *(path for path in there if path.is_dir())])
            return directory / self.random.choice(("new", "x.tmp", "8", "000000-folded-00000000.segment"))
        return self.state / self.random.choice(NAMES)

    def replace(self) -> None:
        """Remove something, or put a file, a directory or a pipe in its place."""
        path = self._some_path()
        kind = self.random.choice(("nothing", "a file", "a directory", "a pipe"))
        if not self._is_free(path):
            return
        if kind == "a file":
            path.write_bytes(self.random.randbytes(30))
        elif kind == "a directory":
            (path / "deep" / "er").mkdir(parents=True)
            (path / "deep" / "file").write_text("?")
        elif kind == "a pipe":
            os.mkfifo(path)
        self._note(f"put {kind} at", path)

    def link(self) -> None:
        """Put a link somewhere: to a file or directory outside, to nothing, or to itself."""
        path = self._some_path()
        target = self.random.choice(
            (self.outside, self.outside / "precious", self.outside / "precious" / "file", self.outside / "new", Path(".."), Path(path.name))
        )
        if self._is_free(path):
            path.symlink_to(target)
            self._note(f"put a link to {target} at", path)

    def link_directory(self) -> None:
        """Put a link into a directory that wkpipe empties."""
        path = self.state / self.random.choice(
            ("tmp/000001/x", "tmp/dir/a/b", "runs/000000000000/jobs", "runs/a/b/c", "remade/stack/old/x")
        )
        if self._is_free(path):
            path.symlink_to(self.outside)
            self._note("put a link to the outside at", path)


def _leaves(values: Any) -> Iterator[Callable[[Any], None]]:
    """Yield a function that replaces the value, for each value in lists and objects at every depth."""
    items = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    for key, inner in items:

        def put(value: Any, key: Any = key) -> None:
            values[key] = value

        yield put
        yield from _leaves(inner)
