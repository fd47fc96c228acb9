"""FromServer: a mag that is downloaded from a dataset on a WEBKNOSSOS server."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from wkpipe.engine.budget import connections_of, in_flight, writer_bytes
from wkpipe.formats.base import DataFormat, Position
from wkpipe.plan.mag_plan import MagPlan, Origin, identity_of
from wkpipe.plan.origins.budget import cubes_of_units
from wkpipe.storage.commit import WRITE_BYTES

if TYPE_CHECKING:  # slow to import, and needed by downloads only
    from wkpipe.server.download.remote import ServedDataset

HTTP_BYTES = 24 << 20
"""The memory of the client."""

BOXES_PER_REQUEST = 4
"""The copies in memory of a cube that is being downloaded: as received, as a whole, by chunks, and encoded."""


@dataclass(frozen=True)
class FromServer(Origin["ServedDataset"]):
    """Downloaded from the dataset with the id `dataset` of the server with the address `server`."""

    server: str
    dataset: str

    kind = "download"
    bytes_per_second = 30e6

    @classmethod
    def of(cls, remote: ServedDataset) -> Self:
        """Return the origin of a mag that is downloaded from a dataset."""
        return cls(remote.server, remote.dataset_id)

    def inputs(self, plan: MagPlan, unit: Position, source: ServedDataset, tokens: Mapping[Position, str]) -> str:  # noqa: ARG002
        # Only the dataset identifies the input: a server reports no checksums and no versions.
        return identity_of([f"dataset={self.dataset}", f"server={self.server}", plan.first_name, str(plan.mag)])

    def peak_bytes(self, plan: MagPlan, source: ServedDataset, threads: int) -> int:  # noqa: ARG002
        """Predict the memory of a few cubes for each request, and of those that wait to be appended."""
        connections = connections_of(threads)
        grid, cubes = cubes_of_units(plan)
        cube = grid.prod() * plan.spec.chunk_bytes
        collected = WRITE_BYTES if plan.spec.data_format is DataFormat.ZARR3 else 0
        opened = (1 + math.ceil(in_flight(connections) / cubes)) * writer_bytes(plan.spec, plan.box.size)
        held = connections * BOXES_PER_REQUEST * cube + in_flight(connections) * cube
        return HTTP_BYTES + held + 2 * (collected + cube) + opened

    @property
    def text(self) -> str:
        return "server"

    @property
    def how(self) -> str:
        return "downloaded"

    def to_json(self) -> dict[str, Any]:
        return {"source": {"server": self.server, "dataset": self.dataset}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        return cls(values["source"]["server"], values["source"]["dataset"])
