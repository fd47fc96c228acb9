"""Metadata of datasets: datasource-properties.json, its parts, and the group files of OME-NGFF."""
