"""The table docs/api-coverage.md: what of three vocabularies of the API wkpipe has. `python -m tests.api_coverage` writes it.

Names and parameters are stored in tests/data/api_names.json: facts about `webknossos` 4.3.3 and two documents of older versions. What
wkpipe has is asked of wkpipe; what it lacks must have its reason here.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import wkpipe
from wkpipe.dataset.border import BEYOND
from wkpipe.dataset.old_names import OLD_CALLS

ROOT = Path(__file__).resolve().parents[1]
FACTS: dict[str, Any] = json.loads((ROOT / "tests" / "data" / "api_names.json").read_text(encoding="utf-8"))
TABLE = ROOT / "docs" / "api-coverage.md"

SERVER = "use webknossos beside wkpipe"
OWN = "wkpipe does it by itself"

MISSING: dict[str, str] = {
    # member, or member(parameter), of any class: why wkpipe lacks it
    "rechunk(_progress_desc)": "private in 4.3.3",
    **dict.fromkeys(
        ["get_remote_datasets", "publish_to_preliminary_dataset", "trigger_dataset_import", "trigger_reload_in_datastore"], SERVER
    ),
    **{
        f"upload({name})": SERVER
        for name in ["initial_team_ids", "require_unique_name", "layers_to_link", "common_storage_path_prefix", "folder_id"]
    },
    "upload(transfer_mode)": "files are sent over HTTP",
    **{f"open_remote({name})": SERVER for name in ["sharing_token", "annotation_id", "access_mode", "read_only", "use_zarr_streaming"]},
    "download(sharing_token)": SERVER,
    "MagView.create": "`Layer.add_mag` does it",
    "MagView.merge_chunk": "a step of `merge_with_view`",
    "export": SERVER,
    "to_agglomerate_graph_data": f"for the proofreading of a server: {SERVER}",
    "Layer(properties)": "layers are not constructed by scripts",
    **dict.fromkeys(["check_version_in_background", "current_version"], OWN),
}

REMARKS: dict[str, str] = {
    "BoundingBox.align_with_mag": "a box that contains no whole voxel of the mag becomes empty; 4.3.3 flips it",
    "NDBoundingBox.align_with_mag": "as BoundingBox",
    "NormalizedBoundingBox.align_with_mag": "as BoundingBox",
    "BoundingBox()": "text: `x,y,z,width,height,depth`; fractions are refused, 4.3.3 drops them",
    "NDBoundingBox.size_xyz": "1 along an axis that the box lacks; 4.3.3: 0",
    "VecInt.moveaxis": "4.3.3 raises for every vector",
    "Vec3Int()": "f-strings show `1,2,3`; fractions are refused, 4.3.3 drops them",
    "Layer.add_mag": "`compress=True` by default, as in 4.3.3; False in the documents",
    **dict.fromkeys(
        ["Layer.downsample", "Layer.downsample_mag", "Layer.downsample_mag_list", "Layer.redownsample"],
        "`buffer_shape` has no effect: voxels do not depend on it",
    ),
    **dict.fromkeys(
        ["Layer.add_mag_as_copy", "Dataset.add_layer_as_copy", "Dataset.copy_dataset"],
        "`exists_ok` brings the same copy up to date; 4.3.3 raises IndexError",
    ),
    "Layer.name": "references, copies and view configurations of the dataset follow; 4.3.3 leaves them behind",
    "AgglomerateAttachment.create": "positions beyond 32 bits and edges of a segment to itself are refused; 4.3.3 stores others",
    "Layer.coordinate_transformations": "they are kept and shown, not applied",
    "Layer.upsample": "`compress=True` by default, as in 4.3.3; blocks are filled for every factor, 4.3.3 leaves holes from 4 on",
    "SegmentationLayer.refresh_largest_segment_id": "0 if all voxels are 0, as in 4.3.3; None in document 004",
    "Layer.mags": '`"1" in layer.mags` works',
    "View.read": "without a size: to the end of the view",
    "Dataset.upload": "returns a RemoteDataset with url, name and download",
    "Dataset.add_layer_from_images": "`czi_channel`, `scale` and `truncate_rgba_to_rgb=False` are refused; flips: see `from_images`",
    "Dataset.from_images": "the command line also makes coarser mags by default; `flip_x` mirrors x and `flip_y` y, 4.3.3: the other one",
}


@dataclass(frozen=True)
class Row:
    """One line of the table: where the name is from, what wkpipe has of it, and why it lacks the rest."""

    source: str
    name: str
    lacks: tuple[str, ...]
    reasons: tuple[str, ...]
    remark: str

    def text(self) -> str:
        state = "✔" if not self.lacks else "; ".join(f"{what}: {why}" for what, why in zip(self.lacks, self.reasons, strict=True))
        return f"| `{self.name}` | {self.source} | {state} | {self.remark} |"


def rows() -> Iterator[Row]:
    """Yield the rows of all vocabularies."""
    for source, facts in FACTS.items():
        for name in facts["names"]:
            lacks = () if _has_name(name) else ("all",)
            is_beyond = name in BEYOND
            reasons = tuple(MISSING.get(name, "no reason") for _ in lacks)
            yield Row(source, name, lacks, reasons, f"a name only: {SERVER}" if is_beyond else REMARKS.get(name, ""))
        for owner, members in facts["classes"].items():
            for member, parameters in members.items():
                yield _row(source, owner, member, parameters)


def _has_name(name: str) -> bool:
    module, _, last = name.rpartition(".")
    try:
        return hasattr(import_module(module.replace("webknossos", "wkpipe")) if module else wkpipe, last)
    except ImportError:
        return False


def _row(source: str, owner: str, member: str, parameters: list[str] | None) -> Row:
    kind = getattr(wkpipe, owner)
    name = f"{owner}()" if member == "()" else f"{owner}.{member}"
    remark = REMARKS.get(name, "")
    if member != "()" and not hasattr(kind, member) and not any(member in inspect.get_annotations(base) for base in kind.__mro__):
        return Row(source, name, ("all",), (_reason(owner, member),), remark)
    if not parameters:  # a property, an attribute, or a function without parameters
        return Row(source, name, (), (), remark)
    function = kind if member == "()" else getattr(kind, member)
    accepted = _accepted(owner, member, kind, function)
    lacks = tuple(parameter for parameter in parameters if parameter not in accepted)
    called = owner if member == "()" else member
    return Row(source, name, lacks, tuple(_reason(owner, f"{called}({parameter})") for parameter in lacks), remark)


def _reason(owner: str, name: str) -> str:
    for key in (f"{owner}.{name}", *(f"{base.__name__}.{name}" for base in getattr(wkpipe, owner).__mro__), name):
        if key in MISSING:
            return MISSING[key]
    return MISSING.get(name.replace("SegmentationLayer(", "Layer("), "no reason")


def _accepted(owner: str, member: str, kind: type, function: Any) -> set[str]:
    """Return the parameters that a function takes, by their present and their old names."""
    signature = inspect.signature(function.__init__ if member == "()" and "__new__" not in vars(kind) else function)
    old = {name for base in kind.__mro__ if (call := OLD_CALLS.get(f"{base.__name__}.{member}")) for name in call.names}
    return {*signature.parameters, *old}


def table() -> str:
    """Return the text of docs/api-coverage.md."""
    lines = [
        "# What of the API wkpipe has",
        "",
        "Scripts for `webknossos` run on wkpipe with another import. This table has the public names of `webknossos` 4.3.3",
        "(top level, and the classes for local datasets and geometry) and of two documents of older versions, 003 and 004,",
        "which describe `dataset.layer`.",
        "",
        "✔: the name and all its parameters are there. Otherwise: what is missing (`all`, or parameters), and why. Old names",
        "warn with the line that uses them.",
        "",
        "| name | from | in wkpipe | remark |",
        "|---|---|---|---|",
    ]
    return "\n".join([*lines, *(row.text() for row in rows()), ""])


if __name__ == "__main__":
    TABLE.write_text(table(), encoding="utf-8")
