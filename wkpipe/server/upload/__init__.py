"""Upload: choose files and send them, resumably."""
