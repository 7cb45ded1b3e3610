"""A search that the machine cannot run is refused before it begins, with real Ray."""

from pathlib import Path

import pytest

from study.cluster.runtime import cluster
from study.tune import main
from tests.tuner.command import FLAGS, SPACES, write_space
from tests.tuner.in_process import MARKS, ray_environment

pytestmark = MARKS


def check_refused(here: Path, errors: str, message: str) -> None:
    (line,) = [line for line in errors.splitlines() if line]
    assert message in line
    assert not (here / "ray_results").exists()


def test_what_the_machine_cannot_do_is_one_clear_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_space(tmp_path, trials=1)
    large = (
        (SPACES / "phase6a.yaml").read_text().replace("2B: 2_000_000_000", "450B: 450_000_000_000")
    )
    large = large.replace("[2, 3, 4, 6, 8,", "[9000, ").replace("tolerance: 0.25", "tolerance: 0.9")
    (tmp_path / "large.yaml").write_text(large)
    measured = (tmp_path / "estimate.json").read_text().replace("tiny_50k", "phase6a_450B")
    (tmp_path / "large.json").write_text(measured)
    flags = ("--budget", "450B", "--search", "large.yaml", "--estimate", "large.json")
    monkeypatch.chdir(tmp_path)
    with ray_environment(), cluster(None, use_accelerators=False):
        assert main([*FLAGS, "--concurrency", "99"]) == 2
        check_refused(tmp_path, capsys.readouterr().err, "--concurrency")
        assert main([*FLAGS, *flags]) == 2
        check_refused(tmp_path, capsys.readouterr().err, "must fit the memory of a node")
