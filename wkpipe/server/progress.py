"""Progress: what an upload tells of itself while it is under way."""

from __future__ import annotations


class Progress:
    """Is told how an upload goes; this one keeps silent."""

    def notice(self, text: str) -> None:
        """Something the user should know."""

    def doing(self, text: str) -> None:
        """What is being done now; may come often with the same beginning."""

    def moved(self, done: int, total: int) -> None:
        """`done` of `total` bytes are on the server or on their way; may come often."""
