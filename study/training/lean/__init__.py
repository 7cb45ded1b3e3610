"""Training in little memory: weights of 16 bits and moments of 8, changed layer by layer."""
