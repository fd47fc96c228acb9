"""How layers are downsampled, by the names under which scripts import it."""

from wkpipe.sampling import InterpolationMode, SamplingMode
from wkpipe.sampling import SamplingMode as SamplingModes

__all__ = ["InterpolationMode", "SamplingMode", "SamplingModes"]
