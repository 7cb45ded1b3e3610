"""Finds the control groups of this process, by which Linux bounds what it may use (cgroups(7))."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_MOUNT = Path("/sys/fs/cgroup")
"""Folder in which Linux shows control groups."""

_MEMBERSHIP = Path("/proc/self/cgroup")
"""File that names the groups of this process: lines of hierarchy, controllers and path, as
``0::/job_7``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ControlGroup:
    """A group that this process is in, or one around it."""

    folder: Path
    is_unified: bool
    """Is it a group of version 2, which has other files than version 1?"""

    def words(self, file: str) -> list[str]:
        """Return the words of one of its files; none if it has no such file."""
        with suppress(OSError):
            return (self.folder / file).read_text().split()
        return []


def control_groups(
    controller: str, mount: Path = _MOUNT, membership: Path = _MEMBERSHIP
) -> Iterator[ControlGroup]:
    """Yield the groups whose limits hold for this process, of both versions; none outside Linux.

    Args:
        controller: as ``cpu`` or ``memory``.
        mount: where groups are shown.
        membership: file that says which groups this process is in.
    """
    with suppress(OSError):
        for line in membership.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers == "":
                folders, is_unified = _upwards(mount, group), True
            elif controller in controllers.split(","):
                # Mounted by the name of all its controllers, with a link for each.
                folders, is_unified = _upwards(mount / controller, group), False
            else:
                continue
            yield from (ControlGroup(folder=folder, is_unified=is_unified) for folder in folders)


def _upwards(mount: Path, group: str) -> list[Path]:
    """Return the folder of a group, and of every group around it.

    In a container the path may be that on its host, where only the mount itself is its own.
    """
    inner = PurePosixPath(group.lstrip("/"))
    return [mount / each for each in (inner, *inner.parents)]
