"""The records of plans, and their reader."""
