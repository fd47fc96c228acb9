"""Set up the mags that a downsampling would make: empty, but registered."""

from __future__ import annotations

import logging

from wkpipe.dataset.live_layer import LiveLayer
from wkpipe.dataset.new_mag import make_mags
from wkpipe.errors import TryAgain
from wkpipe.formats.base import ArraySpec
from wkpipe.geometry import Mag
from wkpipe.metadata.layer_properties import LayerProperties
from wkpipe.plan.layers.set_up import mags_to_set_up
from wkpipe.plan.request import DownsampleRequest

_LOG = logging.getLogger("wkpipe")


def set_up_mags(layer: LiveLayer, request: DownsampleRequest) -> None:
    """Make the empty arrays of the mags that a request wants and the layer lacks, and register them all at once.

    Nothing proves that such a mag has the right voxels, so that later runs never take it for one that wkpipe made.

    Raises:
        InputRefused: as for making the mags; nothing was created.
        TryAgain: a run works on the dataset, or another process changes the layer.
    """
    planned, plans, notes = mags_to_set_up(request)
    for note in notes:
        _LOG.warning("%s", note)

    def specs(found: LayerProperties) -> dict[Mag, ArraySpec]:
        if found != planned:
            raise TryAgain(f"layer {layer.name} was changed meanwhile", fix="call again")
        return {plan.mag: plan.spec for plan in plans}

    make_mags(layer, specs)
