"""Rules that stop, pause and promote the trials of a search, and a clock on which they play."""
