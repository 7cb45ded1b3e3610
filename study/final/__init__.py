"""Trains winners again, fits simple forecasts, and judges both on the test days."""
