"""Prove a dataset on its own, adopt files without records, repair damage. Start reading at `verify.dataset`."""
