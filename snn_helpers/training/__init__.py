"""Training, checkpoints and baselines."""
