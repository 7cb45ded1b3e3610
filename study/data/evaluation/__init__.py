"""Judgement of probabilities: scores, baselines, and what the days can show."""
