"""Variants of a winner: one setting of its training changed, everything else as it won."""

from collections.abc import Sequence
from dataclasses import dataclass

from study.data.data_config import DataConfig
from study.errors import quoted, require
from study.fields import check_value
from study.results.finals.variant_records import Setting, is_variant_name, variant_name
from study.training.train_config import PANEL_SETTINGS, TRAIN_RULES

_FLAG = "--variants"

_OF_MARKETS = ("auxiliary_weight", "fall_weight")
"""Settings of training that a panel does not read, for it has no such labels."""

_TEXTS = ("phases",)
"""Settings that are a text, which is empty for none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """One setting of training, and the value that it takes in place of the winner's."""

    field: str
    """Name of a field of TrainConfig."""
    value: Setting

    @property
    def name(self) -> str:
        """Name of its folder, such as ``optimizer=adabelief``."""
        return variant_name(self.field, self.value)

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", plain_setting(self.value))
        require(
            self.field in TRAIN_RULES,
            _FLAG,
            "must change a setting of training, as optimizer=adabelief",
            got=quoted(self.name),
            remedy=f"There are: {', '.join(TRAIN_RULES)}.",
        )
        check_value(TRAIN_RULES, self.field, self.value, _FLAG, "Mend the flag.")
        require(
            is_variant_name(self.name),
            _FLAG,
            "must set a number, a word or none, which name a folder",
            got=quoted(self.name),
            remedy=f"Search {self.field} in a study of its own, or give none.",
        )

    def require_read(self, data: DataConfig) -> None:
        """Refuse a setting that the training of a cell does not read.

        Args:
            data: the data set of the cell.

        Raises:
            SpecError: it is for panels and the cell is of a market, or the other way round.
        """
        unread = _OF_MARKETS if data.is_panel else tuple(PANEL_SETTINGS)
        if data.label_kind == "direction":
            unread += ("fall_weight",)
        require(
            self.field not in unread,
            _FLAG,
            f"must change a setting that the task {data.task} reads",
            got=self.name,
            remedy="Leave it out, or select other cells.",
        )


def plain_setting(value: Setting) -> Setting:
    """Return a value as names and records have it: a whole number without a decimal point."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    return value


def read_variants(texts: Sequence[str]) -> tuple[Variant, ...]:
    """Return the variants that ``--variants`` names, each once, in order.

    Args:
        texts: each the name of a setting, an equals sign and a value. ``null`` is no value, and
            ``none`` the empty text of a setting that has one, such as ``phases``.

    Raises:
        SpecError: a text has another form, no such setting exists, or a value breaks its rule.
    """
    return tuple(dict.fromkeys(_variant(text) for text in texts))


def _variant(text: str) -> Variant:
    field, sign, value = text.partition("=")
    require(
        bool(field and sign and value),
        _FLAG,
        "must be the name of a setting, an equals sign and a value",
        got=quoted(text),
        remedy="Write for example optimizer=adabelief or rank_weight=0.",
    )
    if value == "none" and field in _TEXTS:
        return Variant(field=field, value="")
    return Variant(field=field, value=_value(value))


def _value(text: str) -> Setting:
    """Return the number, the missing value or the word that a text stands for."""
    if text in ("null", "None"):
        return None
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
