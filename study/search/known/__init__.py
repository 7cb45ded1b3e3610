"""What a search knows before its first trial: an earlier search, and cells that have ended."""
