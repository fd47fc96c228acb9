"""A dataset as it lies on disk: properties, arrays, ledgers; below everything that plans or works."""
