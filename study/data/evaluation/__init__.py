"""How probabilities are judged: scores, baselines, and what the days can show."""
