"""Runs a search on Ray Tune: its trials, their faults, its heat and its records."""

import gc

import ray

# Torch and Ray Tune make 300,000 objects, which stay. Python would search them all for garbage five
# times while it imports them: 0.4 of the 2.8 seconds of CPU that every worker needs before a trial.
_usual = gc.get_threshold()
gc.set_threshold(*_usual[:2], 1_000_000)
try:
    import study.tuner.trainable  # noqa: F401
finally:
    gc.set_threshold(*_usual)
if ray._private.worker.global_worker.mode == ray.WORKER_MODE:
    # Nor need the collection after each trial search them, in a process that belongs to the search.
    gc.freeze()
