"""Defaults and limits of uploads: the server, the size of a request, and the number of requests at once."""

DEFAULT_URL = "https://webknossos.org"
DEFAULT_CHUNK_BYTES = 32 << 20
DEFAULT_JOBS = 5
MOST_CHUNK_BYTES = 100 << 20
MOST_JOBS = 64
