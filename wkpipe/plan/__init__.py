"""Plan before work: what will be done is a value, made from metadata alone, before a byte is written."""
