"""Steps: make the units of a task; called by the jobs of the workflow and by the library."""
