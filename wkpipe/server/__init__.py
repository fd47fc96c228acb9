"""The WEBKNOSSOS client: what is sent to a server, how, and what is remembered of it."""
