"""A mag of another layer that a layer shows by reference while other mags are made from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wkpipe.dataset.arrival import refer_to
from wkpipe.dataset.errors import WrongType
from wkpipe.dataset.live_layer import LiveLayer
from wkpipe.dataset.mag_view import MagView
from wkpipe.dataset.referenced import referenced_mag, stored_mag
from wkpipe.dataset.removal import remove_mag
from wkpipe.errors import InputRefused, MagNotFound, WrongGeometry
from wkpipe.geometry import Mag, MagLike


def source_mag(from_mag: MagLike | None, view: MagView | None) -> Mag | None:
    """Return the mag to start from: the one that is named, or that of the view.

    Raises:
        WrongType: the view is something else.
        WrongGeometry: the view shows another mag than the one that is named.
    """
    if view is None:
        return None if from_mag is None else Mag(from_mag)
    if not isinstance(view, MagView):
        raise WrongType(f"from_mag_view={view!r} is no mag", fix="give a MagView of wkpipe, as from Layer.get_mag")
    if from_mag is not None and Mag(from_mag) != view.mag:
        raise WrongGeometry(f"mag {view.mag} of from_mag_view does not match from_mag {Mag(from_mag)}", fix="leave from_mag out")
    return view.mag


@contextmanager
def borrowed(layer: LiveLayer, view: MagView | None) -> Iterator[None]:
    """Let a layer have the mag of a view as long as the block runs, by reference; the layer may have it already.

    Raises:
        ExistsDifferently: its format, dtype, channels or axes are not those of the layer.
        InputRefused: the layer has another array as this mag, or an empty box.
    """
    if view is None:
        yield
        return
    if _has(layer, view):
        yield
        return
    if layer.properties.bounding_box().is_empty():
        fix = "set its bounding_box, such as to that of the other layer"
        raise InputRefused(f"layer {layer.name} has no box, so there is nothing to make", fix=fix)
    refer_to(layer, referenced_mag(view, layer.properties), False)
    try:
        yield
    finally:
        remove_mag(layer, view.mag)


def _has(layer: LiveLayer, view: MagView) -> bool:
    """True if the layer shows the array of a view as its mag; an array of its own in that place is refused."""
    properties = layer.properties
    try:
        entry = properties.mag(view.mag)
    except MagNotFound:
        return False
    shown = stored_mag(view)
    if entry.is_remote or layer.live.stored().mag_place(properties, entry).real() != shown[0].mag_place(*shown[1:]).real():
        raise InputRefused(f"layer {layer.name} has a mag {view.mag} of its own", fix="leave from_mag_view out, or delete that mag")
    return True
