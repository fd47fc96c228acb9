"""Steps: each runs one task of a plan; called by the jobs of the workflow and by the library alike."""
