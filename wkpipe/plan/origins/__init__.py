"""Origins: where mags come from, one module each; and the recipes in which they are recorded."""
