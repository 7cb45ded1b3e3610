import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from study.storage.files import (
    append_line,
    read_json,
    read_text,
    write_json,
    write_text,
    write_yaml,
)


def test_a_write_replaces_the_whole_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"value": 1})
    write_json(path, {"value": 2})
    assert json.loads(path.read_text()) == {"value": 2}
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    write_json(path, {"value": 1})
    for unfit in (float("nan"), float("inf"), object()):
        with pytest.raises((ValueError, TypeError)):
            write_json(path, {"value": unfit})
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half of a character: \ud800")
    assert json.loads(path.read_text()) == {"value": 1}


def test_yaml_keeps_the_order_of_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "cell.yaml"
    value = {"zeta": 1, "alpha": {"widths": [1, 2], "rate": 1e-05}, "text": "1e-05"}
    write_yaml(path, value)
    assert list(yaml.safe_load(path.read_text())) == list(value)
    assert "[1, 2]" in path.read_text()


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(0, 40))
def test_a_line_is_appended_to_whole_lines_only(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "log.json"
    written = ['{"epoch": 1}', '{"epoch": 2}', '{"epoch": 3}']
    for line in written:
        append_line(path, line)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - cut])
    append_line(path, '{"epoch": 4}')
    complete = content[: len(content) - cut].count(b"\n")
    assert path.read_text().splitlines() == [*written[:complete], '{"epoch": 4}']


def test_what_is_missing_or_damaged_reads_as_none(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    assert read_json(path) is None
    assert read_text(path) is None
    for damage in (b'{"value": ', b"\xff\xfe", b""):
        path.write_bytes(damage)
        assert read_json(path) is None
        assert read_text(path) is not None
    assert read_text(tmp_path) is None


def linked(path: Path, tmp_path: Path) -> Path:
    """Make a link to somebody's file, which has no end of line, and return the file."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"years\nof work")
    path.symlink_to(victim)
    return victim


def test_what_a_link_leads_to_is_neither_written_nor_cut(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    victim = linked(path, tmp_path)
    for create in (True, False):
        with pytest.raises(OSError, match="symbolic links"):
            append_line(path, "a line", create=create)
    assert victim.read_bytes() == b"years\nof work"
    # The record itself is replaced: the link, not the file.
    write_text(path, "text")
    assert (path.read_text(), path.is_symlink()) == ("text", False)
    assert victim.read_bytes() == b"years\nof work"


def test_a_link_in_the_place_of_a_temporary_file_is_not_followed(tmp_path: Path) -> None:
    victim = linked(tmp_path / ".record.json.tmp", tmp_path)
    with pytest.raises(OSError, match="symbolic links"):
        write_text(tmp_path / "record.json", "text")
    assert victim.read_bytes() == b"years\nof work"


@pytest.mark.parametrize("name", ["record.json", ".record.json.tmp"])
def test_a_folder_in_the_place_of_a_record_is_moved_aside(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "work").write_text("of years")
    write_text(tmp_path / "record.json", "text")
    append_line(tmp_path / "record.json", "line")
    assert (tmp_path / "record.json").read_text().endswith("line\n")
    (aside,) = tmp_path.glob(f"{name}.moved-*")
    assert (aside / "work").read_text() == "of years"
    with pytest.raises(OSError, match="directory"):
        append_line(aside, "line", create=False)
