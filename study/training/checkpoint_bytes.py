"""The bytes that the checkpoints of a trial take on a disk."""

MOST_SPARED_BYTES = 8 * 2**30
"""Size of the largest states of which an older one is kept beside the newest; an own choice. With
averaged weights it is that of 0.5 billion parameters. An older state only serves where the newest
was damaged after it was written, and of 2.42 billion parameters it takes 36 GiB."""


def states_kept(state_bytes: int, keep: int = 2, most_spared_bytes: int = MOST_SPARED_BYTES) -> int:
    """Return the number of complete states that a trial keeps.

    Args:
        state_bytes: size of a state without the best weights.
        keep: number of states that are kept if they are small enough.
        most_spared_bytes: size of the largest states of which more than one is kept.
    """
    return keep if state_bytes <= most_spared_bytes else 1


def running_bytes(state_bytes: int, best_bytes: int) -> int:
    """Return the most bytes that a running trial takes on the disk, while it writes a state.

    Every state, the one that is written included, may refer to best weights of its own. They cannot
    be fewer: until the newer state is complete the older one must have those that it refers to.

    Args:
        state_bytes: size of a state without the best weights.
        best_bytes: size of the best weights.
    """
    return (states_kept(state_bytes) + 1) * (state_bytes + best_bytes)
