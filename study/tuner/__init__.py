"""Runs a search on Ray Tune: its trials, their faults, its heat and its records."""
