"""Agglomerate attachments: made and read, or with a second argument only read. Runs with either library."""

import json
import sys
from pathlib import Path

import numpy as np
import webknossos as wk
import zarr

DTYPES = {"small": "uint32", "large": "uint64", "single": "uint32", "empty": "uint64"}


def graph_of(name: str) -> wk.AgglomerateGraph:
    graph, rng = wk.AgglomerateGraph(), np.random.default_rng(0)
    count = {"small": 50, "large": 34000, "single": 1, "empty": 0}[name]
    for number in rng.permutation(count).tolist():
        graph.add_segment(number + 1, position=wk.Vec3Int(number, 2 * number, -number))
    for u, v in rng.integers(1, count + 1, (count // 3, 2)).tolist() if count else []:
        if u != v:
            graph.add_affinity_edge(u, v, affinity=float(rng.random()))
    return graph


def make(root: Path) -> None:
    dataset = wk.Dataset(root / "d", voxel_size=(4, 4, 4))
    for name, dtype in DTYPES.items():
        layer = dataset.add_layer(name, "segmentation", dtype=dtype).as_segmentation_layer()
        made = wk.AgglomerateAttachment.create_and_add_to(layer, f"{name}_75", graph_of(name))
        assert str(made.path) == str(root / "d" / name / "agglomerates" / f"{name}_75")
        apart = wk.AgglomerateAttachment.create(root / f"{name}_50", graph_of(name), segmentation_dtype=dtype)
        layer.attachments.add_attachment_as_copy(apart)


def facts(root: Path) -> None:
    """Print what the properties, the arrays and the graphs are."""
    for layer in json.loads((root / "d" / "datasource-properties.json").read_text())["dataLayers"]:
        print("=", layer["name"], json.dumps(layer["attachments"], sort_keys=True))
    dataset = wk.Dataset.open(root / "d")
    for name in DTYPES:
        for attachment in dataset.get_segmentation_layer(name).attachments.agglomerates:
            graph = attachment.to_graph()
            places = [(node, type(place).__name__, *map(int, place)) for node, place in graph.nodes(data="position")]
            print("=", type(graph).__name__, places, list(graph.edges(data=True)))
            files = sorted(path for path in Path(str(attachment.path)).rglob("*") if path.is_file())
            print("=", [str(path.relative_to(root)) for path in files])
            for path in files:
                if path.name == "zarr.json":
                    content = json.loads(path.read_text())
                    print("=", path.parent.name, json.dumps(content, sort_keys=True))
                    if content["node_type"] == "array":
                        print("=", np.asarray(zarr.open_array(str(path.parent), mode="r")[:]).tolist())


if __name__ == "__main__":
    if len(sys.argv) < 3:
        make(Path(sys.argv[1]))
    facts(Path(sys.argv[1]))
