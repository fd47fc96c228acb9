"""Plan copies: mags of other layers or datasets, whose voxels are stored in a layer of this one."""

from __future__ import annotations

from wkpipe.errors import AlreadyExists, ExistsDifferently
from wkpipe.formats.converted import ConvertedArray
from wkpipe.geometry import Mag
from wkpipe.geometry.box import Box
from wkpipe.metadata.layer_json import layer_to_json
from wkpipe.plan.layers.clear_way import clear_way, encoded_as_before
from wkpipe.plan.layers.draft import Draft
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.origins.array_content import ArrayContent
from wkpipe.plan.origins.from_array import FromArray
from wkpipe.plan.plan import LayerPlan
from wkpipe.plan.state.copied import CopiedMag, units_of
from wkpipe.plan.state.recipe import load_recipe, with_recorded_names
from wkpipe.plan.state.survey import survey_layer
from wkpipe.plan.wishes.copying import CopyRequest, LayerCopies, MagCopy
from wkpipe.stored.channels import Channels
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.identity import layout_of
from wkpipe.stored.locations import Locations
from wkpipe.stored.swap import load_swap


def plan_copies(request: CopyRequest) -> Draft:
    """Plan copies.

    Raises:
        InputRefused: a copy cannot be stored as it is wanted, or a source cannot be read.
        AlreadyExists: there is another mag, or other data, in the place of a copy.
        IntegrityError: a storage shard of a source is gone or damaged.
    """
    locations = Locations.of(request.dataset)
    properties = locations.properties_file().read() if request.new is None else request.new
    dataset = StoredDataset(locations, properties)
    draft = Draft(dataset.locations, properties.name)
    for layer in request.layers:
        _plan_layer(dataset, layer, request.exists_ok, draft)
    return draft


def _plan_layer(dataset: StoredDataset, wish: LayerCopies, exists_ok: bool, draft: Draft) -> None:
    layer, locations = wish.layer, dataset.locations
    if load_swap(locations, layer.name) is not None:
        what = "a run was stopped while its mags took the place of the old ones"
        raise AlreadyExists(what, where=f"layer {layer.name}", fix="complete that with `wkpipe downsample` first")
    existing = {entry.mag for entry in layer.mags}
    plans: list[MagPlan] = []
    contents: dict[Mag, ArrayContent] = {}
    for copy in sorted(wish.mags, key=lambda copy: copy.mag.to_tuple()):
        copy.check_fits(layer)
        plan = with_recorded_names(copy.plan(layer), locations)
        plan = _same(plan, locations, exists_ok) if plan.mag in existing else clear_way(plan, locations, False, draft)
        plans.append(plan)
        contents[plan.mag] = content_of_copy(copy, draft)
    publish = tuple(plan.mag for plan in plans if plan.mag not in existing)
    removed = [mag for name, mag in draft.reset if name == layer.name]
    survey = survey_layer(locations, plans, layer, None, outside=contents, discarded=removed)
    box = layer.bounding_box()
    grows = not wish.is_new and dataset.layer(layer.name).bounding_box() != box
    new = layer_to_json(layer) if wish.is_new else None
    draft.add(LayerPlan(layer.name, tuple(plans), publish, new=new, box=box if grows else None), survey)


def _same(plan: MagPlan, locations: Locations, exists_ok: bool) -> MagPlan:
    """Return the plan of a mag that exists, encoded as it was; refuse it, unless it may exist and is the same copy.

    Raises:
        AlreadyExists: it may not exist, or is something else.
        ExistsDifferently: it is a copy of the same mag that is stored in another way.
    """
    where = f"layer {plan.layer}"
    if not exists_ok:
        raise AlreadyExists(f"layer {plan.layer} already has mag {plan.mag}", fix="delete it first, or pass exists_ok=True")
    recipe, wanted = load_recipe(locations, plan.layer, plan.mag), plan.origin
    assert isinstance(wanted, FromArray)
    if recipe is None or not isinstance(found := recipe.origin, FromArray) or found.source != wanted.source:
        raise AlreadyExists(f"mag {plan.mag} exists and is not a copy of the same mag", where=where, fix="delete it first")
    if layout_of(recipe.spec) != layout_of(plan.spec):
        raise ExistsDifferently(f"mag {plan.mag} is a copy that is stored in another way", where=where, fix="delete it first")
    return encoded_as_before(plan, recipe)


def content_of_copy(copy: MagCopy, draft: Draft) -> ArrayContent:
    """Return what is known of the array to copy, and note what the user should know."""
    stored = StoredDataset.open(copy.dataset)
    entry = copy.layer.mag(copy.source)
    mag = CopiedMag.open(stored, copy.layer, entry)
    ledger = mag.ledger()
    units = units_of(mag.array.spec, Box.of(copy.voxels), Channels.of(copy.layer, entry))
    recipe = load_recipe(stored.locations, copy.layer.name, copy.source)
    content = mag.content(units, ledger, None if recipe is None else frozenset(recipe.units()))
    if isinstance(mag.array, ConvertedArray):
        found, wanted = mag.array.stored.spec.dtype, copy.layer.dtype
        draft.notes.append(f"{mag.where}: the array has dtype {found}, read as {wanted} because of elementClass")
    absent = sum(token == "fill" for token in content.tokens.values())
    if absent and not ledger:
        draft.notes.append(f"{mag.where}: {absent} of {len(units)} storage shards have no file and count as empty")
    return content
