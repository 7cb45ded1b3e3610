"""Reads records, fits, tests, draws, reports; never imports torch or ray."""

import importlib

# Set before arch or matplotlib is imported: it says where they may keep files.
importlib.import_module("study")
