#!/usr/bin/env bash
# ray 2.60.0, psutil 7.2.2, Python 3.11, Linux; 2026-11-28.
#
# One would expect: ray.init(include_dashboard=False) starts no process of the dashboard; its
# documentation says of the argument that it is a boolean flag for whether to start the dashboard.
#
# What happens: a process dashboard/dashboard.py is started all the same, with its web page off and
# the module for usage statistics alone, and ray.init waits until it answers. That holds where
# RAY_USAGE_STATS_ENABLED=0 leaves that module nothing to do, too.
#
# Output seen:
#   include_dashboard=False: dashboard.py runs, with --modules-to-load=UsageStatsHead,
#   --disable-frontend
#
# What follows: programs that start a local Ray again and again pay for a Python process (80 MiB and
# most of a second of a core) that they have switched off.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "ray==2.60.0" "psutil==7.2.2" \
    2>"$folder/pip.log" || { cat "$folder/pip.log"; exit 1; }
export RAY_USAGE_STATS_ENABLED=0
# Ray's sockets need a short path.
export RAY_TMPDIR="$folder/r"
"$folder/venv/bin/python" - <<'PYTHON'
import psutil
import ray

ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
found = [
    process.cmdline()
    for process in psutil.Process().children(recursive=True)
    if any(part.endswith("dashboard/dashboard.py") for part in process.cmdline())
]
ray.shutdown()
flags = sorted(
    part for command in found for part in command
    if part in ("--disable-frontend", "--modules-to-load=UsageStatsHead")
)
if len(found) != 1 or len(flags) != 2:
    raise SystemExit(f"the behaviour has changed: {len(found)} processes, flags {flags}")
print("include_dashboard=False: dashboard.py runs, with " + ", ".join(reversed(flags)))
PYTHON
