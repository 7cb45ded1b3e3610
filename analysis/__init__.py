"""Reads records, fits, tests, draws, reports; never imports torch or ray."""
