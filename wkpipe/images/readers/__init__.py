"""The image readers that are part of wkpipe; `wkpipe.images.registry` chooses between them."""
