"""The optimizer step and the forward pass, in a form that a device can capture."""
