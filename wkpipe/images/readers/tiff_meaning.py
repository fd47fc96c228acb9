"""What the values of a TIFF page mean: gray, gray where 0 is white, colours, or indices into a palette."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from wkpipe.images.reader import GRAY, INVERTED, PALETTE, RGB

if TYPE_CHECKING:
    import tifffile

MIN_IS_WHITE, PHOTOMETRIC_RGB, PHOTOMETRIC_PALETTE, PHOTOMETRIC_YCBCR = 0, 2, 3, 6


def meaning_of(page: tifffile.TiffPage) -> str:
    """Return what the values of a page mean; indices into a gray palette are gray values if the palette is a plain ramp."""
    if page.photometric == MIN_IS_WHITE:
        return INVERTED
    if page.photometric in (PHOTOMETRIC_RGB, PHOTOMETRIC_YCBCR):
        return RGB
    if page.photometric != PHOTOMETRIC_PALETTE or page.colormap is None:
        return GRAY
    colours = np.asarray(page.colormap, np.int64)
    if (colours == colours[0]).all():
        steps = np.diff(colours[0])
        if (steps > 0).all():
            return GRAY
        if (steps < 0).all():
            return INVERTED
    return f"{PALETTE} {hashlib.sha256(colours.tobytes()).hexdigest()[:8]}"
