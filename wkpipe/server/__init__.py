"""The WEBKNOSSOS client: requests to a server, downloads, and uploads that resume."""
