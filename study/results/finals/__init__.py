"""Records of final runs, and what they answered on the days that were held out."""
