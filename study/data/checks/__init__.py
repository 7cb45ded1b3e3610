"""Checks of whether a series of prices or a volatility index is wrong, or odd."""
