"""Kubernetes: a Job for each task of a plan and each try."""
