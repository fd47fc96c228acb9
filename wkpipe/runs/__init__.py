"""The frame of a run: the lease, the stored plan, and the files through which jobs report."""
