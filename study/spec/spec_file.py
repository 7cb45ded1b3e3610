"""Reads the YAML file of a study, and refuses unknown keys and values of a wrong type."""

import dataclasses
import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study.data.data_config import DATA_RULES, DataConfig
from study.errors import SpecError, quoted, require, shortened
from study.fields import Rule, check_value, is_whole, require_type
from study.model.architecture import MODEL_RULES, Architecture
from study.spec.dimension import Dimension, Fixed, parse_dimension
from study.spec.phase_section import with_phases
from study.spec.search_config import SEARCH_RULES, SearchConfig
from study.spec.search_space_file import find_search_space
from study.spec.specification import (
    DERIVED_MODEL_FIELDS,
    LONGEST_NAME,
    PLANNED_FIELDS,
    SHAPE_FIELDS,
    Study,
    Supplementary,
)
from study.storage.documents import load_yaml
from study.text.number_text import read_number
from study.training.train_config import TRAIN_RULES, TrainConfig

_SECTIONS = ("study", "budgets", "tolerance", "horizons", "data", "model", "train", "search")
"""Keys that every search space has."""

_LABEL_TOLERANCE = 0.25
"""Greatest relative distance of a budget from the number in its label: a budget of 20 million
parameters must not be called 2M."""

_NUMBER_TEXT = re.compile(r"[+-]?[\d.]+[eE][+-]?\d+")
"""Pattern of numbers with an exponent, some of which PyYAML reads as text."""

_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9.\-]{{0,{LONGEST_NAME - 1}}}")
"""Pattern of names that can be part of a folder's name."""

_REMEDY = "Mend the value."


def _names(config: type, leave_out: Sequence[str] = ()) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(config) if f.name not in leave_out)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """A section whose values may be search dimensions."""

    config: type
    """Dataclass whose fields the values become."""
    rules: Mapping[str, Rule]
    fields: tuple[str, ...]
    """Names of the fields that a file may give."""


_MODEL = _Part(
    config=Architecture,
    rules=MODEL_RULES,
    fields=_names(Architecture, leave_out=DERIVED_MODEL_FIELDS),
)
_TRAIN = _Part(config=TrainConfig, rules=TRAIN_RULES, fields=_names(TrainConfig))


def load_study(path: Path) -> Study:
    """Read and validate a search space, given by its file or by the name of a shipped one.

    Raises:
        SpecError: the file is missing or malformed, a key is unknown or missing, a search
            dimension is no config field, or a value has the wrong form.
    """
    where, file = str(path), find_search_space(path)
    raw = load_yaml(file, "Mend it.", SpecError)
    require(
        isinstance(raw, dict),
        where,
        "must be a mapping",
        got=type(raw).__name__,
        remedy="Start from a copy of phase6a.yaml.",
    )
    _check_keys(raw, expected=(*_SECTIONS, "supplementary"), required=_SECTIONS, where=where)
    _check_study_name(raw["study"], where)
    budgets = _budgets(raw, where)
    horizons = _horizons(raw["horizons"], where)
    tolerance = _tolerance(raw["tolerance"], where)
    data, search = _with_days(_section(raw, "data", where)), _section(raw, "search", where)
    data_fields = _names(DataConfig, leave_out=("horizon",))
    _check_keys(data, expected=data_fields, required=(), where=f"{where}: data")
    search_fields = _names(SearchConfig)
    _check_keys(search, expected=search_fields, required=("trials",), where=f"{where}: search")
    _check_fields(data, DataConfig, DATA_RULES, f"{where}: data")
    _check_fields(search, SearchConfig, SEARCH_RULES, f"{where}: search")
    model, train = _section(raw, "model", where), _section(raw, "train", where)
    train = with_phases(train, where)
    return Study(
        name=raw["study"],
        budgets=budgets,
        tolerance=tolerance,
        horizons=horizons,
        data=data,
        model=_dimensions(model, _MODEL, required=SHAPE_FIELDS, where=f"{where}: model"),
        train=_dimensions(
            train, _TRAIN, required=("learning_rate", "epochs"), where=f"{where}: train"
        ),
        search=search,
        path=where,
        supplementary=_supplementary(raw, where),
    )


def _check_study_name(name: object, where: str) -> None:
    require(
        _is_name(name),
        f"{where}: study",
        f"must be a plain name (letters, digits, dots, dashes) of at most {LONGEST_NAME} "
        "characters: it becomes a folder",
        got=quoted(name),
        remedy="Rename the study.",
    )


def _budgets(raw: Mapping[str, Any], where: str) -> dict[str, int]:
    """Return the budgets; a label that is a number must fit its budget."""
    budgets = _section(raw, "budgets", where)
    for label, target in budgets.items():
        require(
            _is_name(label) and is_whole(target) and target > 0,
            f"{where}: budgets",
            "must map plain labels to whole parameter counts of at most 64 bits",
            got=f"{quoted(label)}: {quoted(target)}",
            remedy="Write for example 2M: 2_000_000.",
        )
        stands_for = read_number(label)
        require(
            not stands_for >= 1 or abs(target / stands_for - 1) <= _LABEL_TOLERANCE,
            f"{where}: budgets",
            "a label that is a number must be the parameters that it stands for",
            got=f"{quoted(label)}: {target:,}",
            remedy=f"Write {label}: {stands_for:.0f}, or another label.",
        )
    return budgets


def _horizons(horizons: Any, where: str) -> tuple[int, ...]:
    require(
        isinstance(horizons, list)
        and len(horizons) >= 1
        and all(DATA_RULES["horizon"].holds(horizon) for horizon in horizons),
        f"{where}: horizons",
        "must be a list of trading days >= 1, each at most 100,000",
        got=quoted(horizons),
        remedy="Write for example [1, 3, 5].",
    )
    return tuple(horizons)


def _tolerance(tolerance: Any, where: str) -> float:
    require(
        isinstance(tolerance, float) and 0 < tolerance < 1,
        f"{where}: tolerance",
        "must be a fraction between 0 and 1",
        got=quoted(tolerance),
        remedy="Write for example 0.25.",
    )
    return float(tolerance)


def _supplementary(raw: Mapping[str, Any], where: str) -> Supplementary | None:
    if "supplementary" not in raw:
        return None
    section, where = _section(raw, "supplementary", where), f"{where}: supplementary"
    expected = ("model", "train", "trials")
    _check_keys(section, expected=expected, required=expected, where=where)
    check_value(SEARCH_RULES, "trials", section["trials"], where, "20 to 30 are usual.")
    model, train = (_section(section, name, where) for name in ("model", "train"))
    return Supplementary(
        model=_parsed(model, _MODEL, f"{where}: model"),
        train=_parsed(train, _TRAIN, f"{where}: train"),
        trials=section["trials"],
    )


def _dimensions(
    section: Mapping[str, Any], part: _Part, *, required: Sequence[str], where: str
) -> dict[str, Dimension]:
    """Parse every dimension; a field that the file leaves out becomes its default, or a plan's."""
    _check_keys(section, expected=part.fields, required=required, where=where)
    defaults = {
        field.name: Fixed(field.default)
        for field in dataclasses.fields(part.config)
        if field.name in part.fields
        and field.name not in PLANNED_FIELDS
        and field.default is not dataclasses.MISSING
    }
    return {**defaults, **_parsed(section, part, where)}


def _parsed(section: Mapping[str, Any], part: _Part, where: str) -> dict[str, Dimension]:
    """Parse every dimension, and check each of its values against its field."""
    _check_keys(section, expected=part.fields, required=(), where=where)
    types = {field.name: field.type for field in dataclasses.fields(part.config)}
    dimensions = {}
    for name, raw in section.items():
        dimension = parse_dimension(raw, f"{where}.{name}")
        require(
            not (name in SHAPE_FIELDS and dimension.is_continuous),
            f"{where}.{name}",
            "must be a number or a choice, because the grid is counted row by row",
            got=quoted(raw),
            remedy="List the values.",
        )
        require(
            not (name in PLANNED_FIELDS and dimension.is_searched),
            f"{where}.{name}",
            "must be one value, so that the trials of an architecture can be compared",
            got=quoted(raw),
            remedy="Give one, or leave it out: the plan then chooses by what fits.",
        )
        for value in dimension.values:
            _check_field(name, value, types[name], part.rules, where)
        dimensions[name] = dimension
    return dimensions


def _section(raw: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    section = raw[name]
    require(
        isinstance(section, dict),
        f"{where}: {name}",
        "must be a mapping",
        got=quoted(section),
        remedy="Start from a copy of phase6a.yaml.",
    )
    return dict(section)


def _check_keys(
    section: Mapping[Any, Any], *, expected: Sequence[str], required: Sequence[str], where: str
) -> None:
    for key in section:
        require(
            key in expected,
            f"{where}: {shortened(str(key))}",
            "unknown field",
            got=quoted(key),
            remedy=f"Expected one of {', '.join(expected)}.",
        )
    for key in required:
        require(
            key in section,
            where,
            f"the field {key} is missing",
            got=quoted(list(section)),
            remedy=f"Add {key}.",
        )


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _with_days(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section with days as text, which YAML reads as dates where they are not quoted."""
    return {
        name: f"{value:%Y-%m-%d}" if type(value) is datetime.date else value
        for name, value in section.items()
    }


def _check_fields(
    section: Mapping[str, Any], config: type, rules: Mapping[str, Rule], where: str
) -> None:
    types = {field.name: field.type for field in dataclasses.fields(config)}
    for name, value in section.items():
        _check_field(name, value, types[name], rules, where)


def _check_field(
    name: str, value: object, kind: Any, rules: Mapping[str, Rule], where: str
) -> None:
    """Check a YAML value against its field, with an own remedy for 1e-4, which is read as text."""
    is_number_text = isinstance(value, str) and _NUMBER_TEXT.fullmatch(value) is not None
    remedy = "PyYAML reads 1e-4 as text: write 1.0e-4." if is_number_text else _REMEDY
    require_type(value, kind, f"{where}.{name}", remedy, SpecError)
    check_value(rules, name, value, where, remedy)
