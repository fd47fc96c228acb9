"""Helpers for tests of downloads: plan and run one in this process, with quick retries."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.reference.workshop import Facts, our_facts
from tests.server.upload_helpers import FAST
from tests.server.wk_server import Dataset, WkServer
from wkpipe.geometry import Mag
from wkpipe.plan.build import make_plan
from wkpipe.plan.config import load_config
from wkpipe.plan.cost.resources import Sizing
from wkpipe.plan.plan import Plan
from wkpipe.plan.state.on_server import found_dataset
from wkpipe.runs.run import run_here
from wkpipe.server.http.policy import Policy
from wkpipe.server.http.token import Token
from wkpipe.steps.work import Server

SHARD = "64,64,64"


@dataclass
class Download:
    """A download from a server into a directory; `values` are keys of the config."""

    server: WkServer
    target: Path
    dataset: Dataset
    values: dict[str, Any] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def plan(self, **more: Any) -> Plan:
        page = f"{self.server.url}/datasets/{self.dataset.id}"
        given = {"target": str(self.target), "download_url": page, **self.values, **more}
        config = load_config(given, "test")
        return make_plan(config, Sizing.local(2), found=found_dataset(page, page, Token(self.server.token), config))

    def run(self, policy: Policy = FAST, **more: Any) -> None:
        run_here(self.plan(**more), server=Server(Token(self.server.token), self.said.append, policy))

    @property
    def facts(self) -> Facts:
        return our_facts(self.target)


def boxes_asked(server: WkServer) -> list[dict[str, str]]:
    """Return the queries of all requests for voxels."""
    return [{key: values[0] for key, values in entry.query.items()} for entry in server.requests("data")]


def assert_same_voxels(found: Facts, source: Facts, layer: str, mag: str) -> None:
    """Compare the box of a mag that was downloaded with the same box of its source."""
    here, there = found["layers"][layer]["mags"][mag], source["layers"][layer]["mags"][mag]
    index: list[slice] = [slice(None)]
    for axis, factor in zip("xyz", Mag(mag).to_tuple(), strict=True):
        first = (here["box"][axis][0] - there["box"][axis][0]) // factor
        index.append(slice(first, first + (here["box"][axis][1] - here["box"][axis][0]) // factor))
    assert here["voxels"].dtype == there["voxels"].dtype
    np.testing.assert_array_equal(here["voxels"], there["voxels"][tuple(index)], err_msg=f"layer {layer}, mag {mag}")
