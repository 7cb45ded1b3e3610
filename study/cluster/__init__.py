"""Ray itself: its start, and the resources of a trial."""
