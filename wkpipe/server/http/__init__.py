"""Requests to a server: addresses, tokens, connections, and their errors."""
