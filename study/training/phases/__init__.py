"""Phases of a trial's schedule, and the pretraining that comes before its first epoch."""
