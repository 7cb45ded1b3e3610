"""Winners trained again with one setting changed: which can be, how, and what is left to do."""

import dataclasses
import re
from pathlib import Path

import pytest

from study.errors import StudyError
from study.final.candidates import Candidate
from study.final.variant_runs import differing, require_batches, variant_plan, variants_left
from study.results.finals.variant_records import VariantRecord, write_variant
from study.search.space import TrialConfig
from study.spec.dimension import Fixed
from study.spec.variants import Variant, read_variants
from study.training.phases.phase import Phase, phases_text
from tests.analysis.records import final_record
from tests.final.test_walk_forward import N_FOLDS, folds, searched, small
from tests.results.conftest import record


def only(text: str) -> Variant:
    (variant,) = read_variants([text])
    return variant


def test_one_setting_differs_and_nothing_else_on_the_days_of_the_winner(tmp_path: Path) -> None:
    best = Candidate(trial=record(7, params=small().flat()), again=(), n_asked=0)
    for variant in read_variants(["optimizer=adabelief", "epochs=9", "patience=null"]):
        plan = variant_plan(searched(tmp_path), best, variant, folds())
        changed = {variant.field: variant.value}
        assert len(plan.given(2)) == 2 * N_FOLDS
        configs = [forced.config for forced in plan.given(2) if forced.config is not None]
        assert [each.flat() for each in configs] == [{**small().flat(), **changed}] * 2 * N_FOLDS
        assert plan.folds == folds()
        assert plan.holds_out_validation
        # Runs are drawn from a space that has the changed value, as theirs must.
        assert plan.space.train[variant.field] == Fixed(variant.value)
        assert plan.space.of_configs(configs).epochs == configs[0].train.epochs


@pytest.mark.parametrize(
    ("texts", "kept", "words"),
    [
        (["optimizer=adabelief"], ["optimizer=adabelief"], None),
        (
            ["optimizer=adamw", "weight_decay=0.5"],
            ["weight_decay=0.5"],
            "demo: --variants: must differ from the winner, trial 1, but got optimizer=adamw, "
            "which it has. Give another value, or leave it out.",
        ),
        (["fall_weight=0"], [], "must differ from the winner, trial 1, but got fall_weight=0"),
        (["auxiliary_weight=0.1"], [], "must keep the network of the winner, which has a head for"),
    ],
)
def test_a_winner_is_compared_with_what_differs_from_it(
    texts: list[str], kept: list[str], words: str | None
) -> None:
    own = final_record("demo", 1000, 1, params=small().flat())
    found, refused = differing(own, read_variants(texts))
    assert [variant.name for variant in found] == kept
    assert len(refused) == (words is not None)
    assert all(str(words) in str(error) for error in refused)


PHASES = phases_text(
    [
        Phase(name="first", epochs=3, rank_weight=0.2, sharpe_weight=0.1),
        Phase(name="second", epochs=1, rank_weight=0.1),
    ]
)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["phases=none", "sharpe_weight=0.3", "rank_temperature=0.5"], None),
        (["epochs=9"], "--variants epochs=9: train.phases: the phases must hold all epochs"),
        (["rank_weight=0.7"], "trial 1, reads, but got rank_weight=0.7, which its other settings"),
        (["pretrain_mask_share=0.3"], "reads, but got pretrain_mask_share=0.3"),
        (["pretrain_epochs=1"], "--variants pretrain_epochs=1: .* patches that do not overlap"),
    ],
)
def test_a_variant_must_be_read_and_fit_the_other_settings_of_the_winner(
    texts: list[str], words: str | None
) -> None:
    model = dataclasses.replace(small().model, patch_stride=5)
    train = dataclasses.replace(small().train, phases=PHASES)
    own = dataclasses.replace(small(), model=model, train=train)
    record_of_it = final_record("demo", 1000, 1, params=own.flat())
    found, refused = differing(record_of_it, read_variants(texts))
    assert len(found) == (0 if words else len(texts))
    assert all(re.search(str(words), str(error)) for error in refused)
    assert len(refused) == (words is not None)


def test_what_only_another_setting_reads_is_refused_where_that_is_off() -> None:
    own = final_record("demo", 1000, 1, params=small().flat())
    assert differing(own, [only("rank_temperature=0.5")])[0] == []


def test_a_setting_that_an_earlier_version_lacked_had_its_default() -> None:
    params = {name: v for name, v in small().flat().items() if name != "fall_weight"}
    assert TrialConfig.from_flat(params) == small()
    _, refused = differing(final_record("demo", 1000, 1, params=params), [only("fall_weight=0")])
    assert len(refused) == 1


def test_a_batch_of_more_than_the_training_days_of_a_fold_is_refused(tmp_path: Path) -> None:
    search = searched(tmp_path)
    fewest = min(search.data.fold_train_rows)
    require_batches(search, [only(f"effective_batch={fewest}"), only("epochs=10000")])
    with pytest.raises(StudyError, match=rf"at least a batch .*, but got {fewest} samples\."):
        require_batches(search, [only(f"effective_batch={fewest + 1}")])


def test_variants_that_have_ended_are_not_trained_again(tmp_path: Path) -> None:
    ended = VariantRecord(
        cell="demo", field="optimizer", value="adabelief", base_value="adamw", winner=7, runs=[],
        commit="0123456789ab",
    )  # fmt: skip
    write_variant(tmp_path, ended)
    both = read_variants(["optimizer=adabelief", "weight_decay=0.5"])
    assert variants_left(tmp_path, both) == [both[1]]
    write_variant(tmp_path, dataclasses.replace(ended, base_value="adabelief"))
    with pytest.raises(StudyError, match=r"variant\.json: must be the record of"):
        variants_left(tmp_path, both)
