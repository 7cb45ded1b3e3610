"""Ray Tune and Optuna: what is tried, in which order, and when a trial ends."""
