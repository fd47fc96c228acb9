"""The datastore's reading side: a dataset's properties."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.server.wk_server.refusals import Refused
from tests.server.wk_server.state import State, User
from tests.server.wk_server.wire import Answer


def properties_of(path: Path) -> dict[str, Any]:
    properties: dict[str, Any] = json.loads((path / "datasource-properties.json").read_bytes())
    return properties


def zarr(state: State, owner: User, dataset_id: str, path: str) -> Answer:
    dataset = state.datasets.get(dataset_id)
    if dataset is None or dataset.organization != owner.organization or dataset.properties is None:
        raise Refused(404, f'Dataset "{dataset_id}" does not exist or could not be accessed.')
    if path == "datasource-properties.json":
        return Answer.json(dataset.data_source)
    raise Refused(404, f"no {path}")
