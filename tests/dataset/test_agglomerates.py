"""Agglomerate attachments: made of graphs, read as graphs; what is not possible is refused in one line, and leaves no trace."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
import zarr

from tests.dataset.test_layer_references import state
from wkpipe import AgglomerateAttachment, AgglomerateGraph, Dataset, SegmentationLayer, Vec3Int
from wkpipe.errors import DamagedShard, InputRefused, MetadataError, TryAgain, WkpipeError
from wkpipe.storage.lease import RunLease
from wkpipe.stored.locations import Locations


def example() -> AgglomerateGraph:
    """Return the graph of the format's published example."""
    graph = AgglomerateGraph()
    for number in range(1, 8):
        graph.add_segment(number, position=Vec3Int(number, 10 * number, -number))
    for u, v, affinity in ((7, 1, 65.5), (5, 6, 80.0), (3, 4, 250.5), (1, 2, 124.0), (2, 3, 0.0)):
        graph.add_affinity_edge(u, v, affinity=affinity)
    return graph


TABLES: dict[str, tuple[str, list[Any]]] = {
    "segment_to_agglomerate": ("uint64", [0, 1, 1, 1, 1, 2, 2, 1]),
    "agglomerate_to_segments_offsets": ("uint64", [0, 0, 5, 7]),
    "agglomerate_to_segments": ("uint32", [1, 2, 3, 4, 7, 5, 6]),
    "agglomerate_to_edges_offsets": ("uint64", [0, 0, 4, 5]),
    "agglomerate_to_edges": ("uint32", [[0, 1], [0, 4], [1, 2], [2, 3], [0, 1]]),
    "agglomerate_to_affinities": ("float32", [124.0, 65.5, 0.0, 250.5, 80.0]),
    "agglomerate_to_positions": ("int32", [[n, 10 * n, -n] for n in (1, 2, 3, 4, 7, 5, 6)]),
}
"""The tables of the example, as the format's description has them."""


@pytest.fixture
def layer(tmp_path: Path) -> SegmentationLayer:
    return Dataset(tmp_path / "d", (4, 4, 4)).add_layer("cells", "segmentation", dtype="uint32").as_segmentation_layer()


def test_the_files_are_those_of_the_format(layer: SegmentationLayer) -> None:
    attachment = AgglomerateAttachment.create_and_add_to(layer, "view_75", example())
    assert (type(attachment), attachment.name, attachment.data_format) == (AgglomerateAttachment, "view_75", "zarr3")
    assert attachment == layer.attachments.agglomerates[0]
    path = layer.path / "agglomerates" / "view_75"
    assert attachment.path == path
    entry = json.loads((layer.dataset.path / "datasource-properties.json").read_bytes())["dataLayers"][0]["attachments"]
    assert entry == {"agglomerates": [{"name": "view_75", "path": "./cells/agglomerates/view_75", "dataFormat": "zarr3"}]}
    assert json.loads((path / "zarr.json").read_bytes()) == {
        "zarr_format": 3,
        "node_type": "group",
        "attributes": {"voxelytics": {"artifact_schema_version": 4, "artifact_class": "AgglomerateViewArtifact"}},
    }
    assert {each.name for each in path.iterdir()} == {"zarr.json", *TABLES}
    for name, (dtype, values) in TABLES.items():
        array = zarr.open_array(path / name, mode="r")
        assert (array.dtype, np.asarray(array[:]).tolist()) == (dtype, values), name


def test_graphs_are_read_as_they_were_made(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for number, count in enumerate((0, 1, 2, 400)):
        graph = AgglomerateGraph()
        for segment in rng.permutation(count):
            graph.add_segment(segment + 1, position=rng.integers(-(2**31) + 1, 2**31, 3))
        for u, v in rng.integers(1, count + 1, (count // 2, 2)) if count else ():
            if u != v:
                graph.add_affinity_edge(u, v, affinity=np.float32(rng.normal()))
        made = AgglomerateAttachment.create(tmp_path / str(number), graph, segmentation_dtype=np.uint64)
        again = made.to_graph()
        assert type(again) is AgglomerateGraph
        assert nx.utils.graphs_equal(again, graph)
        assert AgglomerateAttachment.create(tmp_path / f"{number}b", again, segmentation_dtype="uint64") != made
        assert contents(tmp_path / f"{number}b") == contents(tmp_path / str(number)), "the same graph has the same bytes"
        firsts = [min(component) for component in nx.connected_components(again)]
        assert firsts == sorted(firsts), "agglomerates are numbered by their first segment"


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_any_undirected_graph_of_networkx_is_taken(tmp_path: Path) -> None:
    graph = nx.Graph([(np.uint32(1), 2)])
    nx.set_node_attributes(graph, (1, 2, 3), "position")
    made = AgglomerateAttachment.create(tmp_path / "a", graph)
    assert list(made.to_graph().edges(data=True)) == [(1, 2, {"affinity": 0.0})]


def test_agglomerates_are_copied_like_other_attachments(layer: SegmentationLayer, tmp_path: Path) -> None:
    (tmp_path / "view_75").mkdir()
    made = AgglomerateAttachment.create(tmp_path / "view_75", example())
    copy = layer.attachments.add_attachment_as_copy(made)
    shutil.rmtree(tmp_path / "view_75")
    assert isinstance(copy, AgglomerateAttachment)
    assert nx.utils.graphs_equal(copy.to_graph(), example())


Change = Callable[[AgglomerateGraph], object]
GRAPHS: dict[str, tuple[Change, str]] = {
    "gap": (lambda g: g.remove_node(4), "segment 4 is missing, expected all ids from 1 to 7"),
    "gaps": (lambda g: g.remove_nodes_from([2, 5]), "segments 2, 5 are missing"),
    "zero": (lambda g: g.add_node(0, position=(1, 2, 3)), "found the node 0, expected the id of a segment"),
    "negative": (lambda g: g.add_segment(-1, position=(1, 2, 3)), "found the node -1"),
    "text": (lambda g: g.add_node("a", position=(1, 2, 3)), "found the node 'a'"),
    "float": (lambda g: g.add_segment(8.0, position=(1, 2, 3)), "found the node 8.0"),  # type: ignore[arg-type]
    "truth": (lambda g: g.add_segment(True, position=(1, 2, 3)), "found the node True"),
    "no position": (lambda g: g.add_node(8), "segment 8: found the position None, expected three integers"),
    "no segment": (lambda g: g.add_affinity_edge(7, 8, affinity=1), "segment 8: found the position None"),
    "two numbers": (lambda g: g.add_segment(8, position=(1, 2)), r"segment 8: found the position \(1, 2\)"),
    "fractions": (lambda g: g.add_segment(8, position=(1.5, 2, 3)), "segment 8: found the position"),  # type: ignore[arg-type]
    "far": (lambda g: g.add_segment(8, position=(2**31, 0, 0)), "segment 8: found the position .* expected numbers of at most 31 bits"),
    "loop": (lambda g: g.add_edge(3, 3, affinity=1.0), "an edge leads from segment 3 to itself"),
    "affinity": (lambda g: g.add_edge(4, 5, affinity="much"), "edge 4-5: found the affinity 'much', expected a finite number"),
    "not a number": (lambda g: g.add_affinity_edge(4, 5, affinity=float("nan")), "edge 4-5: found the affinity nan"),
    "large": (lambda g: g.add_affinity_edge(4, 5, affinity=1e39), r"edge 4-5: found the affinity 1e\+39"),
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory for all calls that are refused: none of them changes it."""
    root = tmp_path_factory.mktemp("ground")
    dataset = Dataset(root / "d", (4, 4, 4))
    cells = dataset.add_layer("cells", "segmentation", dtype="uint32").as_segmentation_layer()
    dataset.add_layer("narrow", "segmentation", dtype="uint16")
    dataset.add_layer("em", "color")
    AgglomerateAttachment.create_and_add_to(cells, "main", example())
    (cells.path / "agglomerates" / "there").mkdir()
    (root / "taken").mkdir()
    (root / "taken" / "file").touch()
    (root / "link").symlink_to("nowhere")
    return root


@pytest.mark.parametrize("name", GRAPHS)
def test_a_refused_graph_leaves_no_trace(name: str, ground: Path) -> None:
    before, (change, message) = state(ground), GRAPHS[name]
    for call in (_created, _added):
        with pytest.raises(InputRefused, match=message) as caught:
            call(ground, change)
        assert "\n" not in str(caught.value)
    assert state(ground) == before


def _created(ground: Path, change: Change) -> None:
    change(graph := example())
    AgglomerateAttachment.create(ground / "new", graph)


def _added(ground: Path, change: Change) -> None:
    change(graph := example())
    AgglomerateAttachment.create_and_add_to(Dataset.open(ground / "d").get_segmentation_layer("cells"), "new", graph)


def _layer(ground: Path, name: str = "cells") -> Any:
    return Dataset.open(ground / "d").get_layer(name)


CALLS: dict[str, tuple[Callable[[Path], object], tuple[type[Exception], ...]]] = {
    "graph": (lambda g: AgglomerateAttachment.create(g / "new", [(1, 2)]), (TypeError,)),  # type: ignore[arg-type]
    "directed": (lambda g: AgglomerateAttachment.create(g / "new", nx.DiGraph()), (TypeError,)),
    "multigraph": (lambda g: AgglomerateAttachment.create_and_add_to(_layer(g), "new", nx.MultiGraph()), (TypeError,)),
    "dtype": (lambda g: AgglomerateAttachment.create(g / "new", example(), segmentation_dtype="int32"), (ValueError,)),
    "no dtype": (lambda g: AgglomerateAttachment.create(g / "new", example(), segmentation_dtype="odd"), (ValueError,)),
    "path": (lambda g: AgglomerateAttachment.create(5, example()), (TypeError,)),  # type: ignore[arg-type]
    "url": (lambda g: AgglomerateAttachment.create("s3://bucket/new", example()), (ValueError,)),
    "name": (lambda g: AgglomerateAttachment.create(g / "a b", example()), (ValueError,)),
    "taken": (lambda g: AgglomerateAttachment.create(g / "taken", example()), (ValueError, FileExistsError)),
    "file": (lambda g: AgglomerateAttachment.create(g / "taken" / "file", example()), (ValueError, FileExistsError)),
    "link": (lambda g: AgglomerateAttachment.create(g / "link", example()), (ValueError, FileExistsError)),
    "below a file": (lambda g: AgglomerateAttachment.create(g / "taken" / "file" / "new", example()), (ValueError,)),
    "added twice": (lambda g: AgglomerateAttachment.create_and_add_to(_layer(g), "main", example()), (ValueError, FileExistsError)),
    "in the way": (lambda g: AgglomerateAttachment.create_and_add_to(_layer(g), "there", example()), (ValueError, FileExistsError)),
    "way out": (lambda g: AgglomerateAttachment.create_and_add_to(_layer(g), "../x", example()), (ValueError,)),
    "narrow": (lambda g: AgglomerateAttachment.create_and_add_to(_layer(g, "narrow"), "new", example()), (ValueError, AssertionError)),
    "color": (lambda g: AgglomerateAttachment.create_and_add_to(_layer(g, "em"), "new", example()), (TypeError,)),
    "hdf5": (
        lambda g: AgglomerateAttachment.from_path_and_name(g / "a.hdf5", "a", data_format="hdf5").to_graph(),
        (ValueError, NotImplementedError),
    ),
    "remote": (lambda g: AgglomerateAttachment.from_path_and_name("s3://b/a", "a", data_format="zarr3").to_graph(), (NotImplementedError,)),
    "nothing there": (lambda g: AgglomerateAttachment.from_path_and_name(g / "no", "a", data_format="zarr3").to_graph(), (ValueError,)),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_refused_call_leaves_no_trace(name: str, ground: Path) -> None:
    before, (call, kinds) = state(ground), CALLS[name]
    with pytest.raises(WkpipeError) as caught:
        call(ground)
    assert [kind for kind in kinds if not isinstance(caught.value, kind)] == []
    assert "\n" not in str(caught.value)
    assert state(ground) == before


def test_a_run_is_not_disturbed(layer: SegmentationLayer) -> None:
    with RunLease(Locations.of(layer.dataset.path).locks), pytest.raises(TryAgain):
        AgglomerateAttachment.create_and_add_to(layer, "new", example())
    assert layer.attachments.is_empty


def _stored(path: Path, name: str, values: Any, dtype: str | None = None) -> None:
    """Put another table in the place of one."""
    shutil.rmtree(path / name)
    array = np.array(values, dtype or TABLES[name][0])
    zarr.create_array(path / name, data=array)


def _metadata(path: Path, name: str, **values: Any) -> None:
    file = path / name / "zarr.json"
    file.write_text(json.dumps(json.loads(file.read_bytes()) | values))


def _damaged(path: Path) -> None:
    file = path / "agglomerate_to_positions" / "c" / "0" / "0"
    content = bytearray(file.read_bytes())
    content[20] ^= 1
    file.write_bytes(content)


SEGMENTS, EDGES, STARTS = "agglomerate_to_segments", "agglomerate_to_edges", "agglomerate_to_segments_offsets"
BROKEN: dict[str, tuple[Callable[[Path], object], type[WkpipeError], str]] = {
    "gone": (lambda p: shutil.rmtree(p / EDGES), MetadataError, f"{EDGES}/zarr.json: the file does not exist"),
    "no json": (lambda p: (p / EDGES / "zarr.json").write_text("{"), MetadataError, "is not valid JSON"),
    "axes": (lambda p: _stored(p, SEGMENTS, [[1]]), MetadataError, f"{SEGMENTS}/zarr.json: shape: found"),
    "columns": (lambda p: _stored(p, EDGES, [[0, 1, 2]]), MetadataError, f"{EDGES}/zarr.json: found 3 columns, expected 2"),
    "kind": (lambda p: _stored(p, SEGMENTS, [1.5] * 7, "float64"), MetadataError, "found the dtype float64, expected integers"),
    "rows": (lambda p: _stored(p, "agglomerate_to_affinities", [1]), MetadataError, "affinities: it has 1 rows, but .* has 5"),
    "no rows": (lambda p: _stored(p, "segment_to_agglomerate", []), MetadataError, "segment_to_agglomerate: it has no rows"),
    "descending": (lambda p: _stored(p, STARTS, [0, 8, 5, 7]), MetadataError, f"{STARTS}: the offsets do not ascend from 0 to 7"),
    "short": (lambda p: _stored(p, STARTS, [0, 0, 5, 6]), MetadataError, "the offsets do not ascend from 0 to 7"),
    "late": (lambda p: _stored(p, STARTS, [1, 1, 5, 7]), MetadataError, "the offsets do not ascend from 0 to 7"),
    "unknown": (lambda p: _stored(p, SEGMENTS, [1, 2, 3, 4, 7, 5, 9]), MetadataError, f"{SEGMENTS}: 9 is not the id of a segment"),
    "background": (lambda p: _stored(p, SEGMENTS, [1, 2, 3, 4, 7, 0, 6]), MetadataError, "0 is not the id of a segment"),
    "negative": (lambda p: _stored(p, SEGMENTS, [1, 2, 3, 4, 7, -5, 6], "int64"), MetadataError, "-5 is not the id of a segment"),
    "twice": (lambda p: _stored(p, SEGMENTS, [1, 2, 3, 4, 1, 5, 6]), MetadataError, "a segment is listed twice"),
    "contradiction": (lambda p: _stored(p, SEGMENTS, [1, 2, 3, 4, 5, 7, 6]), MetadataError, "segment_to_agglomerate: it contradicts"),
    "way out": (lambda p: _stored(p, EDGES, [[0, 1], [0, 5], [1, 2], [2, 3], [0, 1]]), MetadataError, "an edge leads out of"),
    "same edge": (lambda p: _stored(p, EDGES, [[0, 1], [0, 4], [1, 0], [2, 3], [0, 1]]), MetadataError, "an edge is listed twice"),
    "damage": (_damaged, DamagedShard, "agglomerate_to_positions"),
    "size": (lambda p: _metadata(p, SEGMENTS, shape=[2**40]), InputRefused, "a graph of 1099511627776 segments .* MB of memory"),
    "offsets size": (lambda p: _metadata(p, STARTS, shape=[2**40]), InputRefused, "MB of memory"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    made = AgglomerateAttachment.create(tmp_path / "a", example())
    change, kind, message = BROKEN[name]
    change(tmp_path / "a")
    with pytest.raises(kind, match=message) as caught:
        made.to_graph()
    assert str(tmp_path / "a") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_of_other_tools_are_read(tmp_path: Path) -> None:
    """Other chunks, codecs, dtypes and attributes are possible, and ids with gaps."""
    made = AgglomerateAttachment.create(tmp_path / "a", example())
    (tmp_path / "a" / "zarr.json").unlink()
    _stored(tmp_path / "a", SEGMENTS, [1, 2, 3, 4, 9, 5, 6], "int64")
    _stored(tmp_path / "a", "segment_to_agglomerate", [0, 1, 1, 1, 1, 2, 2, 0, 0, 1], "uint32")
    expected = nx.relabel_nodes(example(), {7: 9})
    assert nx.utils.graphs_equal(made.to_graph(), expected)
