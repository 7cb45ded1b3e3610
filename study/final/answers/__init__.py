"""What final runs and baselines answer on the days that were held out."""
