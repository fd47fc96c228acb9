"""Notes: what the user should know about the values of layers and about their files."""

from __future__ import annotations

from collections.abc import Sequence

from wkpipe.images.content import ContentOptions
from wkpipe.images.gray import gray_note
from wkpipe.images.layers import COLOR
from wkpipe.images.reader import PALETTE
from wkpipe.images.stack import ImageStack
from wkpipe.images.values import EQUAL, MAPPED

MOST_NOTES = 3


def notes_on(stacks: Sequence[ImageStack], options: ContentOptions) -> list[str]:
    """Return what the user should know about the values of layers and about their files."""
    notes: dict[str, None] = {}
    if options.bits is not None and all(stack.files[0].dtype != "bool" for stack in stacks):
        notes["--bilevel makes no difference: no image has 1 bit"] = None
    if options.is_gray and not any(stack.values is not None and stack.values.kind == EQUAL for stack in stacks):
        notes["--rgb gray makes no difference: no layer is RGB"] = None
    for stack in stacks:
        found = list(dict.fromkeys(note for file in stack.files for note in file.about.notes))
        notes |= dict.fromkeys(found[:MOST_NOTES])
        if len(found) > MOST_NOTES:
            notes[f"layer {stack.name}: {len(found) - MOST_NOTES} more notes on its files like the last one"] = None
        if stack.is_inverted:
            shown = ", and the layer is shown inverted" if stack.category == COLOR else ""
            notes[f"layer {stack.name}: in its images, 0 is white; values are kept as stored{shown}"] = None
        if stack.files[0].meaning.startswith(PALETTE) and stack.category == COLOR:
            notes[f"layer {stack.name}: its images have a palette; the stored indices are used, not their colours"] = None
        if not options.is_gray and (hint := gray_note(stack)) is not None:
            notes[hint] = None
        if stack.values is not None and stack.values.kind == MAPPED:
            notes[_colours_note(stack.name, stack.values.colours)] = None
    return list(notes)


def _colours_note(layer: str, colours: Sequence[int]) -> str:
    shown = ", ".join([*(f"{i} = #{colour:06x}" for i, colour in enumerate(colours[:8])), *(["…"] if len(colours) > 8 else [])])
    return f"layer {layer}: {len(colours)} colours became ids ({shown})"
