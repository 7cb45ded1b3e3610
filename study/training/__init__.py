"""Trains one configuration, independently of Ray, Optuna and the folders of results."""
