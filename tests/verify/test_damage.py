"""Every single damage of a data file is found, and named."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from tests.verify.helpers import FORMATS, data_files, names_of
from wkpipe.errors import WkpipeError
from wkpipe.steps.summary import summarise
from wkpipe.steps.verify import verify_dataset

DAMAGES = 200


def _damaged(content: bytes, kind: str, rng: random.Random) -> bytes | None:
    """Return a file's content after a damage; None where the file is gone."""
    if kind == "flip":
        at = rng.randrange(len(content))
        return content[:at] + bytes([content[at] ^ rng.randrange(1, 256)]) + content[at + 1 :]
    if kind == "truncate":
        return content[: rng.randrange(len(content))]
    if kind == "zero":
        return bytes(len(content))
    if kind == "extend":
        return content + rng.randbytes(rng.randrange(1, 5000))
    return None


def _random() -> tuple[random.Random, int]:
    seed = int(os.environ.get("WKPIPE_TEST_SEED", time.time_ns() % 2**32))
    print(f"seed {seed}; repeat with WKPIPE_TEST_SEED={seed}")
    return random.Random(seed), seed


def test_every_single_damage_is_found_and_named(pristine: dict[str, Path]) -> None:
    rng, seed = _random()
    files = {data_format: data_files(pristine[data_format]) for data_format in FORMATS}
    for number in range(DAMAGES):
        dataset = pristine[data_format := rng.choice(FORMATS)]
        file, kind, is_silent = (
            rng.choice(files[data_format]),
            rng.choice(["flip", "truncate", "delete", "zero", "extend"]),
            rng.random() < 0.5,
        )
        content, status = file.read_bytes(), file.stat()
        damaged = _damaged(content, kind, rng)
        if damaged is None:
            file.unlink()
        else:
            file.write_bytes(damaged)
            if is_silent:  # as a disk does it: nobody wrote, so the mtime stays
                os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        report = verify_dataset(dataset, threads=rng.choice([1, 2]))
        file.write_bytes(content)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        found = [(problem.layer, problem.mag, problem.shard) for problem in report.problems]
        assert found == [names_of(dataset, file)], f"seed {seed}, damage {number}: {kind} of {file}: {report.problems}"
    for dataset in pristine.values():
        assert verify_dataset(dataset).problems == ()


def test_damaged_metadata_and_ledgers_never_end_in_a_traceback(dataset: Callable[[str], Path]) -> None:
    rng, _ = _random()
    for data_format in FORMATS:
        root = dataset(data_format)
        files = sorted(path for path in root.rglob("*") if path.is_file() and path not in data_files(root))
        for _ in range(20):
            file = rng.choice(files)
            content = file.read_bytes()
            file.write_bytes(_damaged(content, rng.choice(["flip", "truncate", "zero", "extend"]) if content else "extend", rng) or b"")
            print(file)
            with contextlib.suppress(WkpipeError):
                verify_dataset(root, threads=2)
            with contextlib.suppress(WkpipeError):
                summarise(root).table()
            file.write_bytes(content)
        assert verify_dataset(root).is_sound
