"""The memory model of converting: the memory of all units that share the images being read."""

from __future__ import annotations

from wkpipe.engine.blocks import BlockCut
from wkpipe.engine.budget import in_flight, writer_bytes
from wkpipe.images import BlockSource
from wkpipe.plan.mag_plan import MagPlan

IMAGES_BYTES = 8 << 20
"""The code of the image readers."""


def convert_bytes(plan: MagPlan, images: BlockSource, threads: int) -> int:
    """Predict the peak memory (bytes) of converting units of one mag."""
    cut = BlockCut(plan.spec, plan.box, images)
    writing = cut.open_units * writer_bytes(plan.spec, plan.box.size) + 2 * cut.held_bytes
    encoding = threads * 2 * plan.spec.chunk_bytes + min(in_flight(threads), cut.cubes) * cut.cube_bytes
    reading = threads * (cut.read_bytes + images.scratch_bytes(cut.read_box))
    if cut.step is None:
        # Voxels that are mirrored or swapped are views, which a thread copies before it cuts them into chunks.
        return reading + encoding + writing + (0 if images.is_in_order else threads * cut.cube_bytes)
    # The rows of a window are decoded before they are encoded; a cube is copied out of it and cut into chunks, while others wait.
    encoding += threads * 2 * cut.cube_bytes
    # What was decoded is free by then, but malloc keeps large pieces of it.
    used = reading + encoding if cut.read_bytes > cut.cube_bytes else max(reading, encoding)
    return used + (cut.window_bytes if cut.is_in_memory else 0) + writing
