"""Foretells: what a cell or a study would take, before its first trial."""
