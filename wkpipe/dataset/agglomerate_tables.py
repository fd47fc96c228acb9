"""AgglomerateTables: the seven arrays of an agglomerate attachment (version 4 of the published format), written and read.

The segments are grouped by agglomerate and ascend in each. Agglomerate 0 is empty. Edges name segments by their place in the agglomerate.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from wkpipe.errors import InputRefused, MetadataError
from wkpipe.formats.base import Voxels
from wkpipe.formats.row_files import read_rows, row_count, row_files
from wkpipe.plan.cost.resources import available_memory_mb
from wkpipe.storage.place import Place

_GROUP: Final = {
    "zarr_format": 3,
    "node_type": "group",
    "attributes": {"voxelytics": {"artifact_schema_version": 4, "artifact_class": "AgglomerateViewArtifact"}},
}
_CHUNK_BYTES: Final = 256 << 10
_OFFSETS_CHUNK_BYTES: Final = 64 << 10

_SEGMENTS: Final = "agglomerate_to_segments"
_EDGES: Final = "agglomerate_to_edges"

_COLUMNS: Final = {_EDGES: 2, "agglomerate_to_positions": 3}

_GRAPH_BYTES: Final = 500
"""The memory that a graph takes for each segment and for each edge: measured with networkx 3.6."""

_ROW_BYTES: Final = 50
"""The memory that the tables take for each row while they are checked."""


@dataclass(frozen=True)
class AgglomerateTables:
    """Segments, their positions (x, y, z), edges and their affinities, of all agglomerates; and where those of each agglomerate begin."""

    segment_to_agglomerate: Voxels
    agglomerate_to_segments_offsets: Voxels
    agglomerate_to_segments: Voxels
    agglomerate_to_edges_offsets: Voxels
    agglomerate_to_edges: Voxels
    agglomerate_to_affinities: Voxels
    agglomerate_to_positions: Voxels

    @classmethod
    def of(cls, groups: Voxels, positions: Voxels, edges: Voxels, affinities: Voxels, dtype: np.dtype[Any]) -> Self:
        """Return the tables of segments 1 to n.

        Args:
            groups: for each segment a number that the segments of its agglomerate share. Agglomerates are numbered by their first segment.
            positions, edges, affinities: for each segment x, y, z; for each edge its two segments, and its affinity.
            dtype: of segments.
        """
        _, first, numbers = np.unique(groups, return_index=True, return_inverse=True)
        agglomerates = np.argsort(np.argsort(first))[numbers] + 1 if len(groups) else np.zeros(0, np.int64)
        order = np.argsort(agglomerates, kind="stable")
        count = len(first)
        starts = _offsets(agglomerates, count)
        local = np.empty(len(order), np.int64)
        local[order] = np.arange(len(order)) - starts[agglomerates[order]]
        within = agglomerates[edges[:, 0] - 1]
        ends = np.sort(local[edges - 1], axis=1)
        sequence = np.lexsort((ends[:, 1], ends[:, 0], within))
        return cls(
            np.concatenate([[0], agglomerates]).astype("<u8"),
            starts.astype("<u8"),
            (order + 1).astype(dtype),
            _offsets(within, count).astype("<u8"),
            ends[sequence].astype(dtype),
            affinities[sequence].astype("<f4"),
            positions[order].astype("<i4"),
        )

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Yield key and content of all files."""
        for name, rows in vars(self).items():
            chunk_bytes = _OFFSETS_CHUNK_BYTES if name.endswith("_offsets") else _CHUNK_BYTES
            for key, content in row_files(rows, chunk_bytes):
                yield f"{name}/{key}", content
        yield "zarr.json", (json.dumps(_GROUP, indent=2) + "\n").encode()

    @classmethod
    def read(cls, place: Place) -> Self:
        """Read the tables, and check that they fit together.

        Raises:
            MetadataError: a table is missing, or they contradict each other.
            DamagedShard: a chunk cannot be decoded.
            InputRefused: the graph would not fit into the memory.
        """
        counts = {name: row_count(place.child(name), _COLUMNS.get(name)) for name in cls.__dataclass_fields__}
        in_graph = counts[_SEGMENTS] + counts[_EDGES]
        needed, available = (in_graph * _GRAPH_BYTES + sum(counts.values()) * _ROW_BYTES) // 10**6, available_memory_mb()
        if needed > available:
            what = f"a graph of {counts[_SEGMENTS]} segments and {counts[_EDGES]} edges needs about {needed} MB of memory"
            raise InputRefused(what, where=place, expected=f"at most {available} MB", fix="read it on a larger machine")
        kinds = {"agglomerate_to_affinities": "f"}
        tables = cls(*(read_rows(place.child(name), _COLUMNS.get(name), kinds.get(name, "iu")) for name in counts))
        if (problem := next(tables._problems(), None)) is not None:
            name, what = problem
            raise MetadataError(what, where=place.path(name), fix="make the attachment again, or restore its files")
        return tables

    def _problems(self) -> Iterator[tuple[str, str]]:
        """Yield the table and what is wrong with it; later checks rely on earlier ones."""
        segments, edges = self.agglomerate_to_segments, self.agglomerate_to_edges
        yield from self._wrong_lengths()
        for name, of in (("agglomerate_to_segments_offsets", segments), ("agglomerate_to_edges_offsets", edges)):
            offsets = getattr(self, name)
            if offsets[0] != 0 or offsets[-1] != len(of) or (offsets[1:] < offsets[:-1]).any():
                yield name, f"the offsets do not ascend from 0 to {len(of)}"
        wrong = (segments < 1) | (segments >= len(self.segment_to_agglomerate))
        if wrong.any():
            yield _SEGMENTS, f"{segments[wrong][0]} is not the id of a segment, which are 1 to {len(self.segment_to_agglomerate) - 1}"
        if len(np.unique(segments)) != len(segments):
            yield _SEGMENTS, "a segment is listed twice"
        owners = self.owners(self.agglomerate_to_segments_offsets)
        if (self.segment_to_agglomerate[segments] != owners).any():
            yield "segment_to_agglomerate", f"it contradicts {_SEGMENTS}"
        within = self.owners(self.agglomerate_to_edges_offsets)
        sizes = np.diff(self.agglomerate_to_segments_offsets)[within]
        if (edges < 0).any() or (edges >= sizes[:, np.newaxis]).any():
            yield _EDGES, "an edge leads out of its agglomerate"
        if len(np.unique(np.column_stack([within, np.sort(edges, axis=1)]), axis=0)) != len(edges):
            yield _EDGES, "an edge is listed twice"

    def _wrong_lengths(self) -> Iterator[tuple[str, str]]:
        for name, other in (
            ("agglomerate_to_positions", _SEGMENTS),
            ("agglomerate_to_affinities", _EDGES),
            ("agglomerate_to_edges_offsets", "agglomerate_to_segments_offsets"),
        ):
            found, expected = len(getattr(self, name)), len(getattr(self, other))
            if found != expected:
                yield name, f"it has {found} rows, but {other} has {expected}"
        for name in ("segment_to_agglomerate", "agglomerate_to_segments_offsets"):
            if not len(getattr(self, name)):
                yield name, "it has no rows"

    @staticmethod
    def owners(offsets: Voxels) -> Voxels:
        """Return for each row of a table the agglomerate that it belongs to."""
        return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets).astype(np.int64))


def _offsets(agglomerates: Voxels, count: int) -> Voxels:
    """Return where the rows of each agglomerate begin, 0 included, and where all end."""
    return np.concatenate([[0], np.cumsum(np.bincount(agglomerates, minlength=count + 1))]).astype(np.int64)
