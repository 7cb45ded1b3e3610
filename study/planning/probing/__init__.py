"""Measures the times that a plan is made of, and remembers them."""
