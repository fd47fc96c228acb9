"""Plan the upsampling of a layer: its new mags are compared with what an earlier run of the same request has begun."""

from __future__ import annotations

from wkpipe.errors import AlreadyExists, InputRefused
from wkpipe.plan.layers.clear_way import clear_way
from wkpipe.plan.layers.draft import Draft
from wkpipe.plan.layers.existing import compression_of_mag
from wkpipe.plan.plan import LayerPlan
from wkpipe.plan.state.recipe import inherited_storing, with_recorded_names
from wkpipe.plan.state.survey import survey_layer
from wkpipe.plan.wishes.pyramid import with_compression
from wkpipe.plan.wishes.upsampling import UpsamplingRequest, finer_mags, upsampling_ladder
from wkpipe.stored.dataset import StoredDataset
from wkpipe.stored.swap import load_swap


def plan_upsampling(request: UpsamplingRequest) -> Draft:
    """Plan the mags of a request.

    Raises:
        LayerNotFound, MagNotFound: there is no such layer or mag.
        AlreadyExists: a mag to make exists, or another tool's files are in its place.
        InputRefused: see `upsampling_ladder` and `finer_mags`.
        IntegrityError: a storage shard of the source is damaged or gone.
    """
    dataset = StoredDataset.open(request.dataset)
    draft = Draft(dataset.locations, dataset.properties.name)
    layer = dataset.layer(request.layer)
    where = f"layer {layer.name}"
    if load_swap(dataset.locations, layer.name) is not None:
        raise AlreadyExists(
            "a run was stopped while its mags took the place of the old ones",
            where=where,
            fix="complete that with `wkpipe downsample` first",
        )
    ladder = upsampling_ladder(request, layer, dataset.properties.voxel_size.nm)
    if layer.box.is_empty():
        raise InputRefused("its box is empty: there is nothing to upsample", where=where, fix="give it a box")
    draft.notes += [f"{where}: {warning}" for warning in ladder.warnings]
    source = compression_of_mag(dataset, layer, ladder.from_mag)
    storing = with_compression(request.storing, inherited_storing(dataset, request.storing), source)
    wanted = [with_recorded_names(plan, dataset.locations) for plan in finer_mags(layer, ladder, storing)]
    plans = [clear_way(plan, dataset.locations, False, draft) for plan in wanted]
    removed = [mag for name, mag in draft.reset if name == layer.name]
    survey = survey_layer(dataset.locations, plans, layer, dataset, discarded=removed)
    publish = tuple(plan.mag for plan in plans)
    draft.add(LayerPlan(layer.name, tuple(plans), publish, tuple(survey.found)), survey)
    return draft
