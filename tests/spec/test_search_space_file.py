from pathlib import Path

import pytest

from study.errors import SpecError
from study.spec.search_space_file import SHIPPED, find_search_space, names


def test_a_shipped_space_is_found_by_its_name_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert names() == [
        "large_check",
        "long",
        "origin",
        "panel",
        "panel_phases",
        "phase6a",
        "small",
        "smoke",
        "two_phase",
    ]
    for given in ("smoke", "search_spaces/smoke.yaml"):
        assert find_search_space(Path(given)) == SHIPPED / "smoke.yaml"


def test_a_file_of_ones_own_is_found_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = Path("search_spaces/smoke.yaml")
    own.parent.mkdir()
    own.write_text("study: own")
    assert find_search_space(own) == own
    Path("smoke").write_text("study: another")
    assert find_search_space(Path("smoke")) == SHIPPED / "smoke.yaml"
    assert find_search_space(Path("mine.yaml").absolute().with_name("smoke")) == tmp_path / "smoke"


@pytest.mark.parametrize(
    "given", ["smoek", "smoke.yaml", "elsewhere/smoke.yaml", "search_spaces", "x" * 300]
)
def test_what_is_neither_is_answered_with_the_names(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        SpecError,
        match="names are large_check, long, origin, panel, panel_phases, phase6a, small, smoke, "
        "two_phase",
    ):
        find_search_space(Path(given))
