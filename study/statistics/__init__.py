"""Formulas that plan, search and report have in common: blocks of days, skill, errors."""
