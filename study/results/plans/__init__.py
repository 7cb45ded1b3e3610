"""What a cell was expected to take: the records of plans, and their reader."""
