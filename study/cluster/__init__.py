"""Ray itself: its start, and the resources of a trial."""

import os

# Set before Ray is imported, which reads it, so before any module of this package is: a worker's
# end then has a line of our own, where Ray's goes on for a page.
os.environ.setdefault(
    "RAY_DEDUP_LOGS_SKIP_REGEX", r"A worker died|[Ww]orkers? .*killed|Raylet is terminated"
)

if os.environ.get("RAY_AUTH_TOKEN"):
    # A process that joins a cluster does not show its token otherwise.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
