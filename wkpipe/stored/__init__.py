"""A dataset as it is stored: properties, arrays, ledgers; below everything that plans or works."""
