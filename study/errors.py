"""The errors a user can cause or cure, and the one form their messages take."""


class StudyError(ValueError):
    """A study cannot go on; the message says where, which rule, what was got, what to do."""


class SpecError(StudyError):
    """A flag, a YAML file or a configuration breaks a rule."""


class DataError(StudyError):
    """Prices, features, labels or splits break a rule."""


def require(
    condition: bool,
    where: str,
    rule: str,
    *,
    got: object,
    remedy: str,
    error: type[StudyError] = SpecError,
) -> None:
    """Raise ``error`` in the house form unless ``condition`` holds.

    Args:
        condition: what must be true.
        where: the file, object or flag at fault, such as ``prices.csv`` or ``TrainConfig``.
        rule: what must hold, such as ``learning_rate must be > 0``.
        got: the offending value, usually ``name=value``.
        remedy: what the user can do, one sentence.
        error: the class to raise.
    """
    if not condition:
        raise error(f"{where}: {rule}, but got {got}. {remedy}")
