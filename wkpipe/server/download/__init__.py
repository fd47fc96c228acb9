"""Download: datasets on a server and boxes of their voxels."""
