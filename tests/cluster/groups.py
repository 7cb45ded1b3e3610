"""Control groups in a folder of a test."""

from collections.abc import Mapping
from pathlib import Path

from study.cluster.control_groups import ControlGroup, control_groups


def written(controller: str, root: Path, files: Mapping[str, str]) -> list[ControlGroup]:
    """Write groups, and ``membership`` as /proc/self/cgroup, and return those of a controller."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return list(control_groups(controller, root, root / "membership"))
