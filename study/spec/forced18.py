"""The eighteen configurations that a search across budgets tries first.

Eight are a shallow and a deep architecture of each of four budgets. The others take dropout,
learning rate or weight decay to an extreme, in the shallow architecture of a budget.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Group = Literal["architecture", "dropout", "learning_rate", "weight_decay"]

D_FF_RATIO = 4
"""Feed-forward width of all eighteen, as a multiple of d_model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A configuration of the list; what it does not name takes the middle of its range."""

    name: str
    group: Group
    """What the configuration varies: a setting taken to an extreme, or the architecture."""
    budget: str
    d_model: int
    n_layers: int
    n_heads: int
    dropout: float = 0.5
    learning_rate: float = 1e-4
    weight_decay: float = 1e-3

    @property
    def values(self) -> Mapping[str, float]:
        """The settings that the list fixes, by field."""
        return {
            "dropout": self.dropout,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
        }


_SHALLOW: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {"750k": (192, 2, 4), "2M": (320, 2, 4), "20M": (768, 3, 8), "200M": (1536, 8, 16)}
)
"""Width, layers and heads of the shallow architecture of each budget."""

_DEEP: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {"750k": (128, 4, 4), "2M": (192, 5, 4), "20M": (384, 12, 8), "200M": (768, 28, 16)}
)
"""Width, layers and heads of the deep architecture of each budget."""


def _architecture(budget: str, kind: str, shape: tuple[int, int, int]) -> Listed:
    d_model, n_layers, n_heads = shape
    return Listed(
        name=f"{budget}_{kind}", group="architecture", budget=budget, d_model=d_model,
        n_layers=n_layers, n_heads=n_heads,
    )  # fmt: skip


def _setting(name: str, group: Group, budget: str, value: float) -> Listed:
    d_model, n_layers, n_heads = _SHALLOW[budget]
    values = {group: value}
    return Listed(
        name=name, group=group, budget=budget, d_model=d_model, n_layers=n_layers,
        n_heads=n_heads, **values,
    )  # fmt: skip


FORCED18: tuple[Listed, ...] = (
    *(
        _architecture(budget, kind, shapes[budget])
        for budget in _SHALLOW
        for kind, shapes in (("shallow", _SHALLOW), ("deep", _DEEP))
    ),
    _setting("dropout_0.1", "dropout", "2M", 0.1),
    _setting("dropout_0.3", "dropout", "2M", 0.3),
    _setting("dropout_0.7", "dropout", "2M", 0.7),
    _setting("dropout_0.1", "dropout", "200M", 0.1),
    _setting("lr_1e-5", "learning_rate", "2M", 1e-5),
    _setting("lr_1e-3", "learning_rate", "2M", 1e-3),
    _setting("lr_1e-5", "learning_rate", "20M", 1e-5),
    _setting("wd_0", "weight_decay", "2M", 0.0),
    _setting("wd_1e-2", "weight_decay", "2M", 1e-2),
    _setting("wd_0", "weight_decay", "200M", 0.0),
)
"""The eighteen configurations, in the order in which they are tried."""


def listed(budgets: frozenset[str]) -> list[Listed]:
    """Return the configurations of the given budgets, in order."""
    return [one for one in FORCED18 if one.budget in budgets]
