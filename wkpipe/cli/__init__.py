"""The command line: one command a module; it parses, calls, prints, exits."""
