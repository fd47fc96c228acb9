"""Read boxes of voxels of a dataset on a server; an answer counts only if it has exactly the bytes that were requested."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

import numpy as np

from wkpipe.errors import ServerError
from wkpipe.formats.base import Voxels
from wkpipe.geometry import Mag, Vec3Int
from wkpipe.server.http.answer import Answer
from wkpipe.server.http.connection import Connection, Patience
from wkpipe.server.versions import Versions

MOST_EDGE = 512
"""The most voxels along each axis of a box that servers return."""

BUCKET_EDGE = 32
"""The edge of the cubes that a server reads at once. For exactly one such cube an empty answer may mean that none is stored."""

MISSING = "[0]"
"""The header of such an empty answer."""

MOST_WRONG = 3
"""The number of answers of a wrong length that makes reading a box fail."""


class BoxReader:
    """Reads boxes of one mag of a dataset's layer. Thread-safe."""

    def __init__(
        self, connection: Connection, versions: Versions, dataset_id: str, layer: str, mag: Mag, dtype: np.dtype[Any], channels: int
    ) -> None:
        self._connection = connection
        self._path = f"/data/v{versions.data}/datasets/{dataset_id}/layers/{quote(layer, safe='')}/data"
        self._where = f"layer {layer}, mag {mag}"
        self._mag = mag
        self._dtype = dtype.newbyteorder("<")
        self._channels = channels

    def read(self, first: Vec3Int, shape: Vec3Int) -> Voxels:
        """Return a box as an array (c, x, y, z); `first` and `shape` are in voxels of the mag.

        Raises:
            ServerError: the server refuses, fails for too long, or its answer is not such a box.
            Stopped: the network was aborted.
        """
        parts = list(_parts(first, first + shape))
        if len(parts) == 1:
            return self._part(first, shape)
        voxels: Voxels = np.zeros((self._channels, *shape), self._dtype, order="F")
        for low, high in parts:
            place = tuple(slice(a - f, b - f) for a, b, f in zip(low, high, first, strict=True))
            voxels[(slice(None), *place)] = self._part(low, high - low)
        return voxels

    def _part(self, first: Vec3Int, shape: Vec3Int) -> Voxels:
        count = shape.prod() * self._channels
        data = self._asked(first, shape, count * self._dtype.itemsize)
        voxels = np.zeros(count, self._dtype) if data is None else np.frombuffer(data, self._dtype)
        return voxels.reshape((self._channels, *shape), order="F")

    def _asked(self, first: Vec3Int, shape: Vec3Int, size: int) -> bytes | None:
        """Return the bytes of a box; None if the server has nothing of it."""
        # The first corner is in voxels of mag 1, sizes are in those of the mag.
        query = {"mag": self._mag.to_long_str(), **_texts("xyz", first * self._mag.to_vec3_int())}
        query |= _texts(("width", "height", "depth"), shape)
        connection, what = self._connection, f"reading {self._where}, voxels {first} to {first + shape}"
        patience = Patience(connection.network)
        wrong = 0
        while True:
            answer = connection.ask(what, "GET", self._path, patience=patience, query=query, raw_bytes=size)
            if answer.status != 200:
                raise connection.refusal(what, answer)
            if answer.is_raw and len(answer.body) == size:
                return answer.body
            if answer.is_raw and not answer.body and answer.missing == MISSING and _is_bucket(first, shape):
                return None
            wrong += 1
            error = ServerError(f"{connection.base} answers with {_found(answer, size)}", where=what, expected=f"{size} bytes of voxels")
            if wrong == MOST_WRONG:
                raise error.but(fix="check on the server that the dataset can be viewed, then run the same command again")
            patience.wait(error)


def _texts(names: Iterable[str], values: Vec3Int) -> dict[str, str]:
    return dict(zip(names, map(str, values), strict=True))


def _parts(first: Vec3Int, end: Vec3Int) -> Iterator[tuple[Vec3Int, Vec3Int]]:
    """Cut a box at multiples of the server's largest box."""
    cuts = [[a, *range((a // MOST_EDGE + 1) * MOST_EDGE, b, MOST_EDGE), b] for a, b in zip(first, end, strict=True)]
    for sides in itertools.product(*(itertools.pairwise(cut) for cut in cuts)):
        yield Vec3Int([side[0] for side in sides]), Vec3Int([side[1] for side in sides])


def _is_bucket(first: Vec3Int, shape: Vec3Int) -> bool:
    return shape == Vec3Int.full(BUCKET_EDGE) and not any(first % BUCKET_EDGE)


def _found(answer: Answer, size: int) -> str:
    if not answer.is_raw:
        return f"{len(answer.body)} bytes in a Content-Encoding that was not requested" if answer.is_coded else f"a text ({answer})"
    return f"more than {size} bytes" if len(answer.body) > size else f"{len(answer.body)} bytes"
