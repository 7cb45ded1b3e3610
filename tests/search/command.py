"""The search command in a folder of its own, as a user runs it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import yaml

SPACES = Path(__file__).parent.parent.parent / "search_spaces"
CELL = "tiny_50k_h3_threshold_1pct"


def write_space(here: Path, *, trials: int, epochs: int = 3, **search: Any) -> None:
    """Write ``tiny.yaml``: models so small that a trial takes a second; make a home folder."""
    raw = yaml.safe_load((SPACES / "smoke.yaml").read_text())
    raw["study"] = "tiny"
    raw["search"] |= {"trials": trials, **search}
    raw["train"]["epochs"] = epochs
    (here / "tiny.yaml").write_text(yaml.safe_dump(raw))
    (here / "home").mkdir()


def command(*flags: str) -> list[str]:
    cell = ["--search", "tiny.yaml", "--budget", "50k", "--horizon", "3"]
    return [sys.executable, "-m", "study.tune", *cell, *flags]


def start(here: Path, *flags: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*flags),
        cwd=here,
        env={**os.environ, "HOME": str(here / "home"), "COLUMNS": "200", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(here: Path, *flags: str, expect: int = 0, **environment: str) -> tuple[str, str]:
    process = start(here, *flags, **environment)
    try:
        output, errors = process.communicate(timeout=240)
    finally:
        assert not left_over(process.pid), "Ray processes were left"
    assert process.returncode == expect, output + errors
    assert not list((here / "home").iterdir()), "something was written to the home folder"
    return output, errors


def processes(session: int) -> list[psutil.Process]:
    """Return the living processes of a session."""
    found = []
    for process in psutil.process_iter(["name", "status"]):
        try:
            if os.getsid(process.pid) == session and process.info["status"] != "zombie":
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def left_over(session: int, patience_seconds: float = 20.0) -> list[str]:
    """Return the processes of a session that outlive its command."""
    until = time.monotonic() + patience_seconds
    while processes(session) and time.monotonic() < until:
        time.sleep(0.2)
    return [process.info["name"] for process in processes(session)]


def workers(session: int) -> list[psutil.Process]:
    """Return the processes in which trials run."""
    found = []
    for process in processes(session):
        # One that ends meanwhile is none.
        with suppress(psutil.NoSuchProcess):
            if "ray::ResourceTrainable" in " ".join(process.cmdline()):
                found.append(process)
    return found


def cell_folder(here: Path) -> Path:
    return here / "ray_results" / CELL


def trials(here: Path) -> list[dict[str, Any]]:
    path = cell_folder(here) / "all_trials.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return rows


def epochs_of(here: Path, row: dict[str, Any]) -> list[dict[str, Any]]:
    lines = (cell_folder(here) / row["folder"] / "result.json").read_text().splitlines()
    return [json.loads(line) for line in lines]


def wait_until(
    holds: Callable[[], bool], process: subprocess.Popen[str] | None, seconds: float = 120.0
) -> None:
    """Wait as long as it may still come to hold: while ``process`` lives, if there is one."""
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        if process is not None and process.poll() is not None:
            break
        time.sleep(0.05)
    assert holds(), "it did not come so far"
