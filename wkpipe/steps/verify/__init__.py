"""Prove a dataset alone, adopt what has no records, repair what is damaged. The way in is `verify.dataset`."""
