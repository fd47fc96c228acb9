"""What a run of many small layers does once, and not for each layer, mag or unit: most of its time is such overhead."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.steps.test_waits import make_layers
from wkpipe.errors import InputRefused
from wkpipe.formats.open_files import OpenShards
from wkpipe.metadata import properties as properties_module
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.plan import Plan
from wkpipe.runs.run import run_here
from wkpipe.storage import access
from wkpipe.storage.local import Local

LAYERS = 5


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    make_layers(tmp_path / "dataset", LAYERS)
    return tmp_path / "dataset"


def planned(root: Path) -> Plan:
    return make_plan(load_config({"target": str(root)}, "test"), Sizing.local(1))


def counted(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, key: Callable[..., Any]) -> Counter[Any]:
    """Count the calls of a function by a key of their arguments."""
    counts: Counter[Any] = Counter()
    original = getattr(owner, name)

    def counting(*arguments: Any, **named: Any) -> Any:
        counts[key(*arguments)] += 1
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, counting)
    return counts


def test_a_plan_looks_at_each_directory_and_recipe_few_times(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    links = counted(monkeypatch, access.os.path, "islink", str)
    read = counted(monkeypatch, Local, "content", lambda place, key, _: f"{place}/{key}")
    planned(dataset)
    layer = dataset / "color3"
    assert links[str(layer / "2")] == 1, "where the new mag will be"
    assert links[str(dataset / ".wkpipe" / "ledger" / "color3" / "2")] == 1
    assert read[str(layer / "1" / "zarr.json")] <= 2, "its layout and its identity"


def test_another_plan_looks_again(dataset: Path, tmp_path: Path) -> None:
    planned(dataset)
    (dataset / ".wkpipe" / "ledger").mkdir(parents=True)
    (dataset / ".wkpipe" / "ledger" / "color3").symlink_to(tmp_path)
    with pytest.raises(InputRefused, match="is a link that leads out"):
        planned(dataset)


def test_publishing_parses_the_properties_once_for_all_layers(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(dataset)
    parsed: list[int] = []
    before_publishing = len(plan.tasks) - 1
    layers = counted(monkeypatch, properties_module, "layer_from_json", lambda _: "layers")
    run_here(plan, on_task=lambda _: parsed.append(layers["layers"]))
    assert parsed[-1] - parsed[before_publishing - 1] == 2 * LAYERS, "read once, and each changed layer read again before it is stored"


def test_the_digest_of_a_source_shard_needs_no_second_open_file(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = planned(dataset)
    monkeypatch.setattr("wkpipe.formats.sharded.OPEN_SHARDS", OpenShards())  # that of this process has them open already
    opened = counted(monkeypatch, Local, "open", lambda place, key: f"{place}/{key}")
    run_here(plan)
    shards = {path: count for path, count in opened.items() if f"{os.sep}1{os.sep}c{os.sep}" in path}
    assert shards == {str(dataset / f"color{n}" / "1" / "c" / "0" / "0" / "0" / "0"): 1 for n in range(LAYERS)}
