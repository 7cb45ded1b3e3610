"""Reads a study's YAML: every key known, every value of its type."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml

from study.data.config import DataConfig
from study.dimension import Dimension, Fixed, Range, dimension_values, parse_dimension
from study.errors import SpecError, quoted, require
from study.model.config import ModelConfig
from study.spec import DERIVED_MODEL_FIELDS, SHAPE_FIELDS, SearchConfig, Study, Supplementary
from study.training.config import TrainConfig

_NUMBER_TEXT = re.compile(r"[+-]?[\d.]+[eE][+-]?\d+")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-]*")


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that is given twice: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Build a mapping, or raise for a repeated key."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def load_study(path: Path) -> Study:
    """Read and validate a search space.

    Raises:
        SpecError: the file is missing or malformed, a key is unknown or missing, a search
            dimension is no config field, or a value has the wrong form.
    """
    where = str(path)
    require(
        path.is_file(),
        where,
        "the search space must be a YAML file",
        got="no such file",
        remedy="Choose one of the files in search_spaces/.",
    )
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeyLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problem = " ".join(str(error).split())
        raise SpecError(f"{where}: must be YAML, but got: {problem}. Mend the line.") from error
    require(
        isinstance(raw, dict),
        where,
        "must be a mapping",
        got=type(raw).__name__,
        remedy="Start from search_spaces/phase6a.yaml.",
    )
    sections = ("study", "budgets", "tolerance", "horizons", "data", "model", "train", "search")
    _check_keys(raw, expected=(*sections, "supplementary"), required=sections, where=where)
    require(
        isinstance(raw["study"], str) and _NAME.fullmatch(raw["study"]) is not None,
        f"{where}: study",
        "must be a plain name (letters, digits, dots, dashes): it becomes a folder",
        got=repr(raw["study"]),
        remedy="Rename the study.",
    )
    budgets = _section(raw, "budgets", where)
    for label, target in budgets.items():
        require(
            isinstance(label, str)
            and _NAME.fullmatch(label) is not None
            and isinstance(target, int)
            and target > 0,
            f"{where}: budgets",
            "must map plain labels to whole parameter counts",
            got=f"{label}: {target!r}",
            remedy="Write for example 2M: 2_000_000.",
        )
    horizons = raw["horizons"]
    require(
        isinstance(horizons, list)
        and len(horizons) >= 1
        and all(isinstance(h, int) and not isinstance(h, bool) and h >= 1 for h in horizons),
        f"{where}: horizons",
        "must be a list of trading days >= 1",
        got=repr(horizons),
        remedy="Write for example [1, 3, 5].",
    )
    tolerance = raw["tolerance"]
    require(
        isinstance(tolerance, float) and 0 < tolerance < 1,
        f"{where}: tolerance",
        "must be a fraction between 0 and 1",
        got=repr(tolerance),
        remedy="Write for example 0.25.",
    )
    data_fields = _names(DataConfig, leave_out=("horizon",))
    search_fields = _names(SearchConfig)
    data, search = _section(raw, "data", where), _section(raw, "search", where)
    _check_keys(data, expected=data_fields, required=(), where=f"{where}: data")
    _check_keys(search, expected=search_fields, required=("trials",), where=f"{where}: search")
    _check_types(data, DataConfig, f"{where}: data")
    _check_types(search, SearchConfig, f"{where}: search")
    model_fields = _names(ModelConfig, leave_out=DERIVED_MODEL_FIELDS)
    train_fields = _names(TrainConfig)
    return Study(
        name=raw["study"],
        budgets=dict(budgets),
        tolerance=tolerance,
        horizons=tuple(horizons),
        data=data,
        model=_dimensions(
            _section(raw, "model", where),
            ModelConfig,
            model_fields,
            SHAPE_FIELDS,
            f"{where}: model",
        ),
        train=_dimensions(
            _section(raw, "train", where),
            TrainConfig,
            train_fields,
            ("learning_rate", "epochs"),
            f"{where}: train",
        ),
        search=search,
        path=where,
        supplementary=_supplementary(raw, where),
    )


def _supplementary(raw: Mapping[str, Any], where: str) -> Supplementary | None:
    if "supplementary" not in raw:
        return None
    section, where = _section(raw, "supplementary", where), f"{where}: supplementary"
    expected = ("model", "train", "trials")
    _check_keys(section, expected=expected, required=expected, where=where)
    _check_type(section["trials"], int, f"{where}.trials")
    require(
        section["trials"] >= 1,
        f"{where}.trials",
        "must be at least 1",
        got=repr(section["trials"]),
        remedy="20 to 30 for each budget are usual.",
    )
    model, train = (_section(section, name, where) for name in ("model", "train"))
    fields = _names(ModelConfig, leave_out=DERIVED_MODEL_FIELDS)
    return Supplementary(
        model=_parsed(model, ModelConfig, fields, f"{where}: model"),
        train=_parsed(train, TrainConfig, _names(TrainConfig), f"{where}: train"),
        trials=section["trials"],
    )


def _dimensions(
    section: Mapping[str, Any],
    config: type,
    expected: Sequence[str],
    required: Sequence[str],
    where: str,
) -> dict[str, Dimension]:
    """Parse every dimension; what the file leaves out has its default, so that it is recorded."""
    _check_keys(section, expected=expected, required=required, where=where)
    defaults = {
        field.name: Fixed(field.default)
        for field in dataclasses.fields(config)
        if field.name in expected and field.default is not dataclasses.MISSING
    }
    return {**defaults, **_parsed(section, config, expected, where)}


def _parsed(
    section: Mapping[str, Any], config: type, expected: Sequence[str], where: str
) -> dict[str, Dimension]:
    """Parse every dimension, and check that each value it can take suits its field."""
    _check_keys(section, expected=expected, required=(), where=where)
    types = {field.name: field.type for field in dataclasses.fields(config)}
    dimensions = {}
    for name, raw in section.items():
        dimension = parse_dimension(raw, f"{where}.{name}")
        require(
            not (name in SHAPE_FIELDS and isinstance(dimension, Range)),
            f"{where}.{name}",
            "must be a number or a choice, because the grid is counted row by row",
            got=repr(raw),
            remedy="List the values.",
        )
        for value in dimension_values(dimension):
            _check_type(value, types[name], f"{where}.{name}")
        dimensions[name] = dimension
    return dimensions


def _section(raw: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    section = raw[name]
    require(
        isinstance(section, dict),
        f"{where}: {name}",
        "must be a mapping",
        got=repr(section),
        remedy="Start from search_spaces/phase6a.yaml.",
    )
    return dict(section)


def _names(config: type, leave_out: Sequence[str] = ()) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(config) if f.name not in leave_out)


def _check_keys(
    section: Mapping[Any, Any], *, expected: Sequence[str], required: Sequence[str], where: str
) -> None:
    for key in section:
        require(
            key in expected,
            f"{where}: {key}",
            "unknown field",
            got=repr(key),
            remedy=f"Expected one of {', '.join(expected)}.",
        )
    for key in required:
        require(
            key in section,
            where,
            f"the field {key} is missing",
            got=f"{', '.join(map(str, section)) or 'nothing'}",
            remedy=f"Add {key}.",
        )


def _check_types(section: Mapping[str, Any], config: type, where: str) -> None:
    types = {field.name: field.type for field in dataclasses.fields(config)}
    for name, value in section.items():
        _check_type(value, types[name], f"{where}.{name}")


def _check_type(value: object, expected: Any, where: str) -> None:
    """Check a YAML value against a field's type: the loader rejects text where a number is due."""
    if get_origin(expected) is tuple:
        names = isinstance(value, list) and all(isinstance(each, str) for each in value)
        require(names, where, "must be a list of names", got=quoted(value), remedy="Write [a, b].")
        return
    options = get_args(expected) or (expected,)
    fits = any(
        (option is float and isinstance(value, int | float) and not isinstance(value, bool))
        or (option is int and isinstance(value, int) and not isinstance(value, bool))
        or (option is bool and isinstance(value, bool))
        or (option is str and isinstance(value, str))
        or (option is type(None) and value is None)
        or value == option
        for option in options
    )
    wanted = " | ".join(getattr(option, "__name__", repr(option)) for option in options)
    is_number_text = isinstance(value, str) and _NUMBER_TEXT.fullmatch(value) is not None
    hint = " (PyYAML reads 1e-4 as text: write 1.0e-4)" if is_number_text else ""
    require(
        fits,
        where,
        f"must be {wanted}{hint}",
        got=repr(value),
        remedy="Mend the value.",
    )
