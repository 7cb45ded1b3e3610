"""Trains one configuration; knows nothing of Ray, Optuna or folders."""
