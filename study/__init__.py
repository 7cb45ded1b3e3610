"""A scaling study of transformers on market data: spec in, records out."""
