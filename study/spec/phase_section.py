"""The phases of a schedule in a search space: their list in the file, and what they rule out."""

from collections.abc import Mapping
from typing import Any

from study.errors import quoted, require
from study.model.architecture import DEFAULT_FAMILY
from study.spec.dimension import Dimension, Fixed, numbers
from study.training.phases.phase import Phase, parse_phases, phases_of, phases_text


def with_phases(train: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return a file's training section with its list of phases as text, and with their epochs.

    Args:
        train: the section as it stands in the file; without phases it is returned as it is.
        where: the file, for messages.

    Raises:
        SpecError: the list is malformed, or its epochs are not those of the section.
    """
    if "phases" not in train or train["phases"] == "":
        return dict(train)
    raw, where = train["phases"], f"{where}: train.phases"
    phases = parse_phases(raw) if isinstance(raw, str) else phases_of(raw, where)
    n_epochs = sum(phase.epochs for phase in phases)
    epochs = train.get("epochs", n_epochs)
    require(
        epochs == n_epochs,
        where,
        f"train.epochs must be the sum of those of the phases, {n_epochs}",
        got=f"epochs={quoted(epochs)}",
        remedy="Leave train.epochs out; --max-epochs ends the schedule earlier.",
    )
    return {**train, "epochs": n_epochs, "phases": phases_text(phases)}


def check_phases(train: Mapping[str, Dimension], model: Mapping[str, Dimension], path: str) -> None:
    """Refuse phases and a pretraining that some trial of a cell could not follow.

    Args:
        train: dimensions of TrainConfig.
        model: dimensions of ModelConfig.
        path: the file, for messages.

    Raises:
        SpecError: there are several lists of phases, a searched value is read by no phase, a phase
            may train nothing, or patches that overlap are to be hidden.
    """
    dimension = train.get("phases", Fixed(""))
    require(
        not dimension.is_searched,
        f"{path}: train.phases",
        "must be one list, because its epochs are those of every trial",
        got=quoted(dimension.plain),
        remedy="Search each list with a file of its own.",
    )
    phases = parse_phases(str(dimension.values[0]))
    _check_read(phases, train, path)
    _check_trained(phases, model, path)
    _check_patches(train, model, path)


def _check_read(phases: tuple[Phase, ...], train: Mapping[str, Dimension], path: str) -> None:
    replaced = [set(phase.overrides) for phase in phases]
    unread = sorted(set.intersection(*replaced)) if replaced else []
    searched = [name for name in unread if train.get(name, Fixed(None)).is_searched]
    require(
        not searched,
        f"{path}: train.phases",
        "some phase must read every value that is searched",
        got=f"a list or a range for {', '.join(searched)}, of which each phase has its own",
        remedy="Give it one value, or leave it out of a phase.",
    )


def _check_trained(phases: tuple[Phase, ...], model: Mapping[str, Dimension], path: str) -> None:
    alone = [phase.name for phase in phases if phase.trains == ("assets",)]
    attention = model.get("asset_attention", Fixed("none"))
    require(
        not alone or "none" not in attention.values,
        f"{path}: train.phases",
        "a phase that trains assets alone needs attention across them in every trial",
        got=f"phase {alone[0] if alone else ''}, model.asset_attention={quoted(attention.plain)}",
        remedy="Leave none out of model.asset_attention, or let the phase train heads too.",
    )


def _check_patches(
    train: Mapping[str, Dimension], model: Mapping[str, Dimension], path: str
) -> None:
    family, length = model.get("family", Fixed(DEFAULT_FAMILY)), model["patch_length"]
    stride = model["patch_stride"]
    require(
        max(numbers(train.get("pretrain_epochs", Fixed(0)))) == 0
        or (family.values == (DEFAULT_FAMILY,) and min(numbers(stride)) >= max(numbers(length))),
        f"{path}: train.pretrain_epochs",
        "pretraining needs the family patchtst with patches that do not overlap",
        got=f"family={quoted(family.plain)}, patch_length={quoted(length.plain)}, "
        f"patch_stride={quoted(stride.plain)}",
        remedy="Set model.patch_stride to model.patch_length, or pretrain_epochs to 0.",
    )
