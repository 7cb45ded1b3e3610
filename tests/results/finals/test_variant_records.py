"""Records of a winner that is trained again with one setting changed."""

import dataclasses
from pathlib import Path

import pytest

from study.errors import StudyError
from study.results.finals.variant_records import (
    Setting,
    VariantRecord,
    read_variant,
    variant_folder,
    variant_names,
    write_variant,
)

RECORD = VariantRecord(
    cell="demo", field="rank_weight", value=0, base_value=0.1, winner=3, runs=[], commit="0123"
)


@pytest.mark.parametrize(
    ("field", "value", "base_value", "name"),
    [
        ("optimizer", "adabelief", "adamw", "optimizer=adabelief"),
        ("rank_weight", 0, 0.1, "rank_weight=0"),
        ("rank_weight", 1e-05, 0.1, "rank_weight=1e-05"),
        ("phases", "", '[{"epochs": 2}]', "phases=none"),
        ("pretrain", True, False, "pretrain=True"),
        ("sectors", None, "graph", "sectors=None"),
    ],
)
def test_what_is_written_is_read(
    tmp_path: Path, field: str, value: Setting, base_value: Setting, name: str
) -> None:
    record = dataclasses.replace(RECORD, field=field, value=value, base_value=base_value)
    write_variant(tmp_path, record)
    assert variant_names(tmp_path) == [name]
    assert read_variant(tmp_path, name) == record


def test_text_that_describes_several_values_is_no_name() -> None:
    record = dataclasses.replace(RECORD, field="phases", value="", base_value='[{"epochs": 2}]')
    assert (record.name, record.base_name) == ("phases=none", "phases=as-it-won")
    assert RECORD.base_name == "rank_weight=0.1"


def test_a_variant_without_a_record_has_not_ended(tmp_path: Path) -> None:
    assert variant_names(tmp_path) == []
    variant_folder(tmp_path, RECORD.name).mkdir(parents=True)
    assert read_variant(tmp_path, RECORD.name) is None


def test_the_record_of_another_variant_is_refused(tmp_path: Path) -> None:
    write_variant(tmp_path, RECORD)
    variant_folder(tmp_path, RECORD.name).rename(variant_folder(tmp_path, "rank_weight=1"))
    with pytest.raises(StudyError, match="must be the record of rank_weight=1"):
        read_variant(tmp_path, "rank_weight=1")


def test_a_variant_that_changes_nothing_is_refused(tmp_path: Path) -> None:
    write_variant(tmp_path, dataclasses.replace(RECORD, base_value=0))
    with pytest.raises(StudyError, match="which differs from the winner"):
        read_variant(tmp_path, RECORD.name)


def test_a_value_that_names_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="must be the name of a setting"):
        write_variant(tmp_path, dataclasses.replace(RECORD, value="../other"))
