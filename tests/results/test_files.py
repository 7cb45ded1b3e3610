import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from study.results.files import (
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
