"""The short forms in which a configuration, a duration and a number of things are printed."""

from collections.abc import Iterable, Mapping
from typing import Any

LEAN = "lean"
"""Memory mode of trials whose weights are in bfloat16 and whose moments are in 8 bits."""

MIXED_MODES = (
    "trials in memory mode lean are ranked with full ones, which assumes that the mode costs "
    "nothing; that is not measured yet (docs/memory.md)"
)
"""Note beside trials of both memory modes."""


def duration(seconds: float) -> str:
    """Return ``seconds`` as a person says it: 42 s, 7 min 30 s, 3 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def counted(number: int, noun: str) -> str:
    """Return a number of things: 1 worker, 2 workers."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def has_both_modes(params: Iterable[Mapping[str, Any]]) -> bool:
    """Are some of these flat configurations of trials lean, and others not?"""
    return len({each.get("memory") == LEAN for each in params}) == 2


def of_search(text: str, search_number: int) -> str:
    """Return the short name of a cell, with which further search of it is meant: 2M (search 2)."""
    return text if search_number == 1 else f"{text} (search {search_number})"


def architecture(params: Mapping[str, Any]) -> str:
    """Return every architecture value of a flat configuration in a short form, heads included.

    A trial whose state is held lean is marked as such.
    """
    d_ff = params["d_ff_ratio"] * params["d_model"]
    family = params["family"]
    cut = f"patch {params['patch_length']}/{params['patch_stride']}"
    tokens = cut if family == "patchtst" else family
    skip = " skip" if params["last_day_skip"] else ""
    # Records of earlier versions have no memory mode.
    lean = " lean" if params.get("memory") == LEAN else ""
    return (
        f"d{params['d_model']} L{params['n_layers']} h{params['n_heads']} ff{d_ff} "
        f"{tokens} {params['head']}{skip}{lean}"
    )
