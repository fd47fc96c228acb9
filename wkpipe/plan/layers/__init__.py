"""Plan each layer of a run: its pending units, and what must be removed or refused first."""
