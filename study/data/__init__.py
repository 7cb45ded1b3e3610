"""Prices to features to labels to splits to one data set per cell."""
