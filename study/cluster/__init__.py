"""Ray itself: its start, and the resources of a trial."""

import os

# Read when Ray is imported, so before any module of this package can be: the end of a worker has a
# line of our own, and Ray's goes on for a page.
os.environ.setdefault(
    "RAY_DEDUP_LOGS_SKIP_REGEX", r"A worker died|[Ww]orkers? .*killed|Raylet is terminated"
)

if os.environ.get("RAY_AUTH_TOKEN"):
    # A process that joins a cluster does not show its token otherwise.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
