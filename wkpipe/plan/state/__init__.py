"""What exists: compare the planned mags with ledgers and files."""
