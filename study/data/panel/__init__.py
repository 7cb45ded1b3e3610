"""Panels: many assets a day, which a model ranks against each other."""
