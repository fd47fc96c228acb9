"""Where bytes lie, and how they come there: the seam to the disk, the commit protocol, locks and the ledger."""
