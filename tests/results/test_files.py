import json
from pathlib import Path

import pytest

from study.results.files import append_line, read_json_lines, write_json, write_text


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
    assert json.loads(path.read_text()) == {"value": 1}


def test_a_torn_last_line_is_skipped_and_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    append_line(path, '{"epoch": 1}')
    write_text(path, path.read_text() + '{"epoch": 2, "lo')
    assert list(read_json_lines(path)) == [{"epoch": 1}]
    append_line(path, '{"epoch": 2}')
    assert list(read_json_lines(path)) == [{"epoch": 1}, {"epoch": 2}]


def test_an_absent_log_has_no_rows(tmp_path: Path) -> None:
    assert list(read_json_lines(tmp_path / "absent")) == []
