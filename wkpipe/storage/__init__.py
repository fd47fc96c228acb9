"""Where bytes are stored and how they are written: the only access to the disk, the commit protocol, locks and the ledger."""
