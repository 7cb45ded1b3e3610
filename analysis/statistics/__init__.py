"""Laws, verdicts, comparisons and intervals."""
