"""The mags that a request wants and that a layer lacks, as they would be made: for scripts that fill them later."""

from __future__ import annotations

from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.layers.existing import compression_of_mag, wish_of
from wkpipe.plan.layers.made_mags import MadeMags
from wkpipe.plan.mag_plan import MagPlan
from wkpipe.plan.request import DownsampleRequest
from wkpipe.plan.state.recipe import inherited_storing
from wkpipe.stored.dataset import StoredDataset


def mags_to_set_up(request: DownsampleRequest) -> tuple[LayerProperties, list[MagPlan], list[str]]:
    """Return the layer of a request as it is now, the plans of the mags that it lacks, and the notes for the user.

    Raises:
        InputRefused: as for making the mags.
    """
    assert request.layer is not None
    dataset = StoredDataset.open(request.dataset, request.state_dir)
    layer = dataset.layer(request.layer)
    made = MadeMags(dataset.properties.layers)
    wish = wish_of(request, dataset, layer, made)
    source = compression_of_mag(dataset, layer, wish.ladder.from_mag)
    plans = wish.new_mags(inherited_storing(dataset, request.storing), source)
    return layer, [plan for plan in plans if plan.mag not in made.of(layer.name)], wish.warnings
