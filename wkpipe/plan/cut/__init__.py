"""How the work is cut into tasks."""
