"""The network, its exact size, and the memory of one training step."""
