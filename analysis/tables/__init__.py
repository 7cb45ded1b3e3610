"""Tables that other programs wrote: runs, and trials of any search."""
