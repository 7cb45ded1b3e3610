"""What makes a series of prices or a volatility index wrong, or odd."""
