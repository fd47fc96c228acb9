"""No wrong voxels with exit code 0: the recorded checksum shows damage that decoding cannot notice."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import numpy as np
import pytest

from tests.torture.fuzz_mutators import flip_in_place
from tests.torture.fuzz_seeds import make_foreign
from wkpipe import Dataset
from wkpipe.errors import DamagedShard, IntegrityError
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.runs.run import run_here
from wkpipe.verify.adopt import adopt_dataset
from wkpipe.verify.dataset import verify_dataset
from wkpipe.verify.select import Selection


@pytest.mark.parametrize("layer", ["sharded", "gzip", "blosc"])
def test_damage_of_an_adopted_array_without_checksums(layer: str, tmp_path: Path) -> None:
    """If the bytes of another tool's file change and still decode, no coarser mag is made from them."""
    dataset, random = tmp_path / "foreign", Random(1)
    make_foreign(dataset)
    adopt_dataset(dataset, state_dir=None, selection=Selection())
    view = Dataset.open(dataset).layers[layer].get_mag(1)
    right = view.read()
    file = next(path for path in sorted((dataset / layer / "1").rglob("*0")) if path.is_file())
    original, status = file.read_bytes(), file.stat()
    values = {"target": str(dataset), "layer_name": layer, "coarsest_mag": "2"}
    decoded = 0
    for _ in range(40):
        file.write_bytes(flip_in_place(original, random))
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        try:
            wrong = not np.array_equal(view.read(), right)
        except DamagedShard:
            continue
        if not wrong:
            continue
        decoded += 1
        assert not verify_dataset(dataset).is_sound
        with pytest.raises(IntegrityError):
            run_here(make_plan(load_config(values, "test"), Sizing.local(1)))
        if decoded == 2:
            break
    assert decoded or layer == "gzip", "gzip has a checksum of its own"
