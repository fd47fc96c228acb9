"""Sampling: which mags to make, and how a voxel of a coarser mag is computed from finer ones. Uses numpy only.

``ladder`` chooses the mags. ``sample`` computes any box of a mag from source voxels, with ``borders`` (mirror
images outside the layer), ``kernels`` (median, mode, max, min) and ``interpolation`` (nearest, bilinear, bicubic).
``upsampling`` makes finer mags.
"""

from wkpipe.sampling.borders import read_reflected
from wkpipe.sampling.interpolation import halo, interpolate_block
from wkpipe.sampling.interpolation_mode import InterpolationMode
from wkpipe.sampling.kernels import reduce_block
from wkpipe.sampling.ladder import Ladder, SamplingMode, default_coarsest_mag, downsample_ladder, upsample_ladder
from wkpipe.sampling.listed_ladder import listed_ladder
from wkpipe.sampling.sample import sample_box, working_bytes
from wkpipe.sampling.upsampling import upsample_box

__all__ = [
    "InterpolationMode",
    "Ladder",
    "SamplingMode",
    "default_coarsest_mag",
    "downsample_ladder",
    "halo",
    "interpolate_block",
    "listed_ladder",
    "read_reflected",
    "reduce_block",
    "sample_box",
    "upsample_box",
    "upsample_ladder",
    "working_bytes",
]
