"""AgglomerateGraph: which segments belong together, as a graph of networkx; and the tables in which attachments store it."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any, Final

import networkx as nx
import numpy as np

from wkpipe.dataset.agglomerate_tables import AgglomerateTables
from wkpipe.dataset.errors import WrongType
from wkpipe.errors import InputRefused
from wkpipe.formats.base import Voxels
from wkpipe.geometry import Vec3Int, Vec3IntLike

_MOST_FLOAT: Final = float(np.finfo(np.float32).max)


class AgglomerateGraph(nx.Graph):  # type: ignore[misc]
    """A graph of networkx whose nodes are segments with a position, and whose edges have an affinity.

    Segments that are connected, directly or over others, are one agglomerate.

    Examples
    --------
    >>> from wkpipe import AgglomerateGraph
    >>> graph = AgglomerateGraph()
    >>> graph.add_segment(1, position=(10, 20, 30))
    >>> graph.add_segment(2, position=(15, 25, 35))
    >>> graph.add_affinity_edge(1, 2, affinity=0.75)
    >>> graph, graph.nodes[2], graph.edges[1, 2]
    (AgglomerateGraph(2 nodes, 1 edges), {'position': Vec3Int(15, 25, 35)}, {'affinity': 0.75})
    """

    def add_segment(self, segment_id: int, *, position: Vec3IntLike) -> None:
        """Add a segment.

        Parameters
        ----------
        segment_id
            from 1 up; an attachment needs all ids up to the largest one.
        position
            a voxel of the segment, x, y, z in mag 1.

        Raises
        ------
        InputRefused
            the id or the position is not possible.
        """
        number = _segment_id(segment_id)
        self.add_node(number, position=_position(number, position))

    def add_affinity_edge(self, u: int, v: int, *, affinity: float) -> None:
        """Connect two segments.

        Parameters
        ----------
        u, v
            the ids of the segments.
        affinity
            how much speaks for the connection; stored with 32 bits.

        Raises
        ------
        InputRefused
            an id or the affinity is not possible, or both ids are the same.
        """
        edge = _edge(u, v)
        self.add_edge(*edge, affinity=_affinity(edge, affinity))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.number_of_nodes()} nodes, {self.number_of_edges()} edges)"


def tables_of(graph: object, dtype: np.dtype[Any]) -> AgglomerateTables:
    """Return the tables of a graph.

    Raises:
        WrongType: it is not an undirected graph of networkx.
        InputRefused: a segment, position, edge or affinity is not possible; names it.
    """
    if not isinstance(graph, nx.Graph) or graph.is_directed() or graph.is_multigraph():
        raise WrongType(f"the graph {graph!r} is not possible", expected="an AgglomerateGraph, or an undirected graph of networkx")
    ids = np.array([_segment_id(node) for node in graph], np.int64)
    _check_dense(ids)
    positions = np.zeros((len(ids), 3), np.int64)
    for node, attributes in graph.nodes(data=True):
        positions[node - 1] = _position(node, attributes.get("position"))
    edges = np.array([_edge(u, v) for u, v in graph.edges], np.int64).reshape(-1, 2)
    affinities = np.array([_affinity(edge, value) for *edge, value in graph.edges(data="affinity", default=0.0)], np.float64)
    return AgglomerateTables.of(_groups(graph, len(ids)), positions, edges, affinities, dtype)


def graph_of(tables: AgglomerateTables) -> AgglomerateGraph:
    """Return the graph of tables, with segments and edges in their order."""
    graph, segments = AgglomerateGraph(), tables.agglomerate_to_segments.astype(np.int64)
    places = zip(segments.tolist(), tables.agglomerate_to_positions.tolist(), strict=True)
    graph.add_nodes_from((segment, {"position": Vec3Int(position)}) for segment, position in places)
    starts = tables.agglomerate_to_segments_offsets.astype(np.int64)[tables.owners(tables.agglomerate_to_edges_offsets)]
    ends = segments[tables.agglomerate_to_edges.astype(np.int64) + starts[:, np.newaxis]]
    pairs = zip(ends.tolist(), tables.agglomerate_to_affinities.tolist(), strict=True)
    graph.add_edges_from((u, v, {"affinity": affinity}) for (u, v), affinity in pairs)
    return graph


def _groups(graph: Any, count: int) -> Voxels:
    """Return for each segment the number of its connected component."""
    groups = np.zeros(count, np.int64)
    for number, component in enumerate(nx.connected_components(graph)):
        groups[[node - 1 for node in component]] = number
    return groups


def _check_dense(ids: Voxels) -> None:
    if not len(ids) or ids.max() == len(ids):  # the nodes of a graph differ
        return
    there = np.zeros(len(ids) + 1, bool)
    there[ids[ids <= len(ids)]] = True
    missing = np.flatnonzero(~there[1:])[:5] + 1
    what = f"segments {', '.join(map(str, missing))} are missing" if len(missing) > 1 else f"segment {missing[0]} is missing"
    raise InputRefused(what, where="graph", expected=f"all ids from 1 to {ids.max()}", fix="number the segments without gaps")


def _segment_id(value: object) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if isinstance(value, (bool, np.bool_)) or not 1 <= number < 1 << 63:
        raise InputRefused(where="graph", found=f"the node {value!r}", expected="the id of a segment, an integer from 1 up")
    return number


def _position(segment: int, value: Any) -> Vec3Int:
    try:
        position = Vec3Int(value)
    except (TypeError, ValueError):
        raise InputRefused(where=f"segment {segment}", found=f"the position {value!r}", expected="three integers x, y, z") from None
    if max(map(abs, position)) >= 1 << 31:
        raise InputRefused(where=f"segment {segment}", found=f"the position {position}", expected="numbers of at most 31 bits")
    return position


def _edge(u: object, v: object) -> tuple[int, int]:
    edge = _segment_id(u), _segment_id(v)
    if edge[0] == edge[1]:
        raise InputRefused(f"an edge leads from segment {edge[0]} to itself", where="graph", fix="remove it")
    return edge


def _affinity(edge: Iterable[int], value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, (str, bytes)) or not abs(number) <= _MOST_FLOAT:
        where = f"edge {'-'.join(map(str, edge))}"
        raise InputRefused(where=where, found=f"the affinity {value!r}", expected="a finite number of 32 bits")
    return number
