"""An accelerator of a machine: what it offers, and the daemon by which trials share it."""
