"""Slurm: commands, states, options of sbatch, environment variables."""
