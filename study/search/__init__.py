"""Decides what a search tries, in which order, and when a trial ends; runs nothing itself."""
