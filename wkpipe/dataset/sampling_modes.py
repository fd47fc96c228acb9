"""The sampling modes, by another module path under which scripts import them."""

from wkpipe.sampling import SamplingMode as SamplingModes

__all__ = ["SamplingModes"]
