"""Origins: their form in recipes; other distributions can add some."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from wkpipe.errors import MetadataError
from wkpipe.metadata.json_node import JsonNode
from wkpipe.plan.origins.from_array import FromArray
from wkpipe.plan.origins.from_coarser import FromCoarser
from wkpipe.plan.origins.from_images import FromImages
from wkpipe.plan.origins.from_mag import FromMag
from wkpipe.plan.origins.from_server import FromServer
from wkpipe.plan.origins.recorded import check_origin, mag_plan_from_json

SPEC = {
    "data_format": "zarr3",
    "axes": ["c", "x", "y", "z"],
    "dtype": "uint8",
    "chunk_shape": [1, 16, 16, 16],
    "shard_shape": [1, 32, 32, 32],
    "compression": ["zstd", 5],
    "fill_value": 0,
}
CONVERTED = {
    "layer": "em",
    "mag": [1, 1, 1],
    "spec": {**SPEC, "shape": [1, 96, 64, 64]},
    "box": [[0, 0, 0], [72, 40, 40]],
    "kind": "convert",
    "source": {"sizes": [1, 1, 40, 40, 72], "channels": [0]},
}
COARSER = {"layer": "em", "mag": [2, 2, 2], "spec": {**SPEC, "shape": [1, 64, 32, 32]}, "box": [[0, 0, 0], [36, 20, 20]]}
DOWNSAMPLED = {
    **COARSER,
    "kind": "downsample",
    "from_mag": [1, 1, 1],
    "source_box": [[0, 0, 0], [72, 40, 40]],
    "interpolation": "mode",
}
UPSAMPLED = {**COARSER, "kind": "upsample", "from_mag": [4, 4, 2]}
DOWNLOADED = {**COARSER, "kind": "download", "source": {"server": "https://webknossos.org", "dataset": "abc"}}
COPIED = {
    **COARSER,
    "kind": "copy",
    "source": {"dataset": "/data/raw", "layer": "em", "mag": [2, 2, 2], "box": [[0, 0, 0], [36, 20, 20]], "channel": 1},
}

RECIPES = [
    (CONVERTED, FromImages, "0d85a7a6a44de842"),
    (DOWNSAMPLED, FromMag, "c74e9b8300e97673"),
    ({**DOWNSAMPLED, "from_channel": 2}, FromMag, "5e224d946a20983d"),
    (DOWNLOADED, FromServer, "fe4a007b725bb4f3"),
    (COPIED, FromArray, "cd61d31a459a8e1b"),
    (UPSAMPLED, FromCoarser, "bdda93b6e858cd51"),
    ({**UPSAMPLED, "from_channel": 1}, FromCoarser, "56c8b3276f6ccb29"),
]
"""Recipes with the hashes that the first releases recorded: if a hash changed, all units would be made again."""


@pytest.mark.parametrize("recipe, origin, params", RECIPES)
def test_a_recipe_keeps_its_hash(recipe: dict[str, Any], origin: type, params: str) -> None:
    plan = mag_plan_from_json(recipe)
    assert type(plan.origin) is origin
    assert plan.params == params
    assert plan.to_json() == recipe
    check_origin(JsonNode.parse(json.dumps(recipe).encode(), "recipe"))


@pytest.mark.parametrize("recipe, origin, params", RECIPES)
def test_a_new_name_of_the_layer_keeps_the_hash(recipe: dict[str, Any], origin: type, params: str) -> None:
    plan = mag_plan_from_json(recipe)
    renamed = plan.renamed("/data/raw", "em", "raw")
    assert (renamed.layer, renamed.made_as, renamed.params) == ("raw", "em", params)
    found = mag_plan_from_json(json.loads(json.dumps(renamed.to_json())))
    assert found == renamed
    check_origin(JsonNode.parse(json.dumps(renamed.to_json()).encode(), "recipe"))
    assert replace(plan, layer="raw").params != params
    assert found.renamed("/data/raw", "raw", "x").renamed("/data/raw", "x", "em") == plan
    assert plan.renamed("/data/raw", "other", "raw") == plan
    if origin is FromArray:
        assert (found.origin.layer, found.origin.copied_as) == ("raw", "em")
        assert plan.renamed("/data/elsewhere", "em", "raw").origin == plan.origin
        again = replace(plan, layer="raw", origin=replace(plan.origin, layer="raw"))
        assert again.as_recorded(found) == found


@pytest.mark.parametrize(
    "change, named",
    [
        ({"kind": "copied"}, "kind"),
        ({"kind": "convert"}, "from_mag"),
        ({"from_mag": None}, "from_mag"),
        ({"source_box": [[0, 0, 0], [72, 40, 40.0]]}, "source_box"),
        ({"source_box": [[0, 0, 0]]}, "source_box"),
        ({"from_channel": 0}, "from_channel"),
    ],
)
def test_a_recipe_that_contradicts_itself_is_refused(change: dict[str, Any], named: str) -> None:
    recipe = {key: value for key, value in {**DOWNSAMPLED, **change}.items() if value is not None}
    with pytest.raises(MetadataError, match=named):
        check_origin(JsonNode.parse(json.dumps(recipe).encode(), "recipe"))
