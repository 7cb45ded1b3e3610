"""Settings that ``study.train --variants`` changes, and what it refuses."""

import pytest

from study.data.data_config import DataConfig
from study.errors import SpecError
from study.results.finals.variant_records import Setting
from study.spec.variants import read_variants

PANEL = DataConfig(
    horizon=1, source="stocks20", tier="closes", normalization="cross_z", task="ranking"
)


@pytest.mark.parametrize(
    ("text", "value", "name"),
    [
        ("optimizer=adabelief", "adabelief", "optimizer=adabelief"),
        ("rank_weight=0.0", 0, "rank_weight=0"),
        ("learning_rate=1e-5", 1e-05, "learning_rate=1e-05"),
        ("epochs=8.0", 8, "epochs=8"),
        ("patience=null", None, "patience=None"),
        ("phases=none", "", "phases=none"),
    ],
)
def test_a_value_is_read_and_named_in_one_way(text: str, value: Setting, name: str) -> None:
    (variant,) = read_variants([text])
    assert (variant.value, variant.name) == (value, name)
    assert not isinstance(variant.value, float) or not variant.value.is_integer()
    assert read_variants([text, name]) == (variant,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("optimizer", "--variants: must be the name of a setting, an equals sign and a value, but"),
        ("=1", "an equals sign and a value, but got '=1'"),
        ("asset_attention=all", "must change a setting of training, .* There are: learning_rate,"),
        ("optimizer=adam", "--variants: optimizer must be one of adamw, adabelief, but"),
        ("rank_weight=inf", "rank_weight must lie in"),
        ("epochs=2.5", "epochs must be a whole number"),
        ("phases=[{epochs: 2}]", "--variants: must set a number, a word or none, .* Search phases"),
        ("rank_weight=high", "rank_weight must lie in .* but got rank_weight='high'"),
    ],
)
def test_what_is_no_setting_of_training_or_breaks_its_rule_is_refused(
    text: str, words: str
) -> None:
    with pytest.raises(SpecError, match=words):
        read_variants([text])


@pytest.mark.parametrize(
    ("data", "text", "is_read"),
    [
        (DataConfig(horizon=1), "fall_weight=1", True),
        (DataConfig(horizon=1), "rank_weight=0", False),
        (DataConfig(horizon=1), "optimizer=adabelief", True),
        (DataConfig(horizon=1, task="direction"), "fall_weight=1", False),
        (DataConfig(horizon=1, task="direction"), "auxiliary_weight=1", True),
        (PANEL, "fall_weight=1", False),
        (PANEL, "auxiliary_weight=1", False),
        (PANEL, "rank_weight=0", True),
    ],
)
def test_a_setting_that_a_task_does_not_read_is_refused(
    data: DataConfig, text: str, is_read: bool
) -> None:
    (variant,) = read_variants([text])
    if is_read:
        variant.require_read(data)
        return
    with pytest.raises(SpecError, match=f"that the task {data.task} reads, but got {text}"):
        variant.require_read(data)
