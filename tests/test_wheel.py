"""The project as a wheel, in an empty folder, with no checkout in sight."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from study.data.sources import load_prices
from study.spec.search_space_file import names
from tests.cases.vendors import ONE
from tests.tuner.command import ESTIMATE, POWER

ROOT = Path(__file__).parent.parent
TEN_VENDORS = (
    "Nasdaq", "Investing", "Investing, German", "TradingView", "Binance", "Alpha Vantage",
    "Polygon", "MetaTrader 5", "Stooq bulk", "yfinance",
)  # fmt: skip
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def ran(command: list[str], here: Path, expect: int = 0, **environment: str) -> str:
    """Return all that a command prints, which must end with this exit code."""
    done = subprocess.run(
        command,
        cwd=here,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout + done.stderr


IMPORTS = """
import sys
from study.data.__main__ import main
# One process for all: each would import pandas anew.
for number, file in enumerate(sys.argv[1:]):
    assert main(["import", file, "--name", f"v{number}"]) == 0, file
"""


class Installed:
    """The wheel, unpacked before the packages that it needs, and an empty folder to work in."""

    def __init__(self, folder: Path) -> None:
        sources, wheels = folder / "sources", folder / "wheels"
        # A copy: setuptools builds where the sources are.
        for name in ("study", "analysis", "search_spaces"):
            shutil.copytree(ROOT / name, sources / name, ignore=lambda *_: ["__pycache__"])
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, sources)
        build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels)]
        ran([*PIP, *build, str(sources)], folder)
        self.site = folder / "site"
        (wheel,) = wheels.glob("*.whl")
        ran([*PIP, "install", "--no-deps", "--target", str(self.site), str(wheel)], folder)
        self.folder = folder / "empty"
        self.folder.mkdir()

    def python(self, *words: str, expect: int = 0) -> str:
        return ran([sys.executable, *words], self.folder, expect, PYTHONPATH=str(self.site))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
def test_what_needs_no_ray(installed: Installed) -> None:
    place = installed.python("-c", "import study, analysis; print(study.__file__)")
    assert place.strip() == str(installed.site / "study" / "__init__.py")
    for name in ("phase6a", "search_spaces/phase6a.yaml"):
        said = installed.python(
            "-m", "study.tune", "--search", name, "--budget", "3M", "--horizon", "3", expect=2
        )
        assert f"must be one of 750k, 2M, 20M, 200M, 2B ({name})" in said
    said = installed.python("-m", "study.tune", "--search", "absent", expect=2)
    assert f"The names are {', '.join(names())}." in said

    load_prices("sp500").frame.to_csv(installed.folder / "prices.csv")
    said = installed.python("-m", "study.data", "import", "prices.csv", "--name", "own")
    assert "Use it with --source own" in said

    bars = load_prices("sp500").frame.iloc[-80:].round(2)
    files = []
    for number, vendor in enumerate(TEN_VENDORS):
        folder = installed.folder / f"vendor{number}"
        folder.mkdir()
        files.append(str(ONE[vendor](bars, folder)))
    said = installed.python("-c", IMPORTS, *files)
    assert said.count(f"80 bars, {bars.index[0]:%Y-%m-%d} to") == len(TEN_VENDORS), said

    rows = "".join(f"{n},{0.4 + 10 * n**-0.3}\n" for n in (10**k for k in range(3, 13)))
    (installed.folder / "runs.csv").write_text(f"parameters,loss\n{rows}")
    fit = ["runs.csv", "--n", "parameters", "--loss", "loss", "--resamples", "100"]
    assert "alpha" in installed.python("-m", "analysis", "fit", *fit)


EXAMPLES = """
import runpy, sys
from study.cluster.runtime import cluster
# One Ray for the plan and the search of the example.
with cluster(None, use_accelerators=True):
    runpy.run_path(sys.argv[1], run_name="__main__")
# Without the program that shows notebooks, which the project does not need.
exec(sys.argv[2])
"""


@pytest.mark.ray
def test_a_search_and_the_examples(installed: Installed) -> None:
    cell = "smoke_50k_h1_threshold_1pct"
    plan = {"cells": [{"cell": cell, "estimate": ESTIMATE, "power": POWER}]}
    (installed.folder / "estimate.json").write_text(json.dumps(plan))
    flags = "--search smoke --budget 50k --horizon 1 --trials 2 --max-epochs 1"
    said = installed.python(
        "-m", "study.tune", *flags.split(), "--estimate", "estimate.json", "--concurrency", "1"
    )
    assert "trials      2 of 2" in said
    assert (installed.folder / "ray_results" / cell).is_dir()

    notebook = json.loads((ROOT / "examples" / "read_a_search.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    read = "\n".join("".join(cell["source"]) for cell in cells)
    said = installed.python("-c", EXAMPLES, str(ROOT / "examples" / "search_a_cell.py"), read)
    assert "trials      6 of 6" in said
    searched, _, shown = said.partition("report.html\n")
    assert searched
    assert " parameters\n" in shown
