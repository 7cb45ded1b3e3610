import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from study.errors import SpecError, StudyError
from study.storage.documents import load_json, load_yaml, parse_json, parse_yaml
from tests.results.damage import VALUES

PIECES = st.sampled_from(
    [
        "[", "]", "{", "}", ": ", ":", "- ", ", ", "\n", "\n  ", "&a ", "*a", "<<", "? ", "|\n",
        ">\n", "!!", "!!bool ", "!!int ", "!!float ", "!!timestamp ", "!!binary ", "!!set ",
        "!!omap ", "!!map ", "!!null ",
        "!x ", "'", '"', "\\x", "%YAML 1.1\n", "--- ", "...\n", "# ", "@", "`", "=", "~",
        "2024-13-45", "2024-01-01 25:61:00", "0x", "0b2", "0o9", "1_", "+.inf", ".nan", "1:99:1.5",
        "1e400", "9" * 30, "\t", "\0", "\ud800", "\ufeff", "\x85",
    ]
)  # fmt: skip
TEXTS = st.lists(PIECES | st.text(max_size=5), max_size=25).map("".join)


@settings(deadline=None)
@given(TEXTS)
def test_no_text_is_more_than_an_error_of_one_line(text: str) -> None:
    for parse in (parse_yaml, parse_json):
        problem = ""
        try:
            parse(text)
        except StudyError as error:
            problem = str(error)
        assert len(problem.splitlines()) <= 1


@settings(deadline=None)
@given(VALUES)
def test_a_value_is_read_as_it_was_written(value: Any) -> None:
    assert repr(parse_yaml(yaml.safe_dump(value, allow_unicode=True))) == repr(
        yaml.safe_load(yaml.safe_dump(value, allow_unicode=True))
    )


BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "line 1, column 1: aliases that stand for more than 100,000 values"),
        ("a: &a [*a]", "aliases that stand for more"),
        ("a: &a {b: *a}", "aliases that stand for more"),
        ("a: 1\nb: 2\na: 3", "line 3, column 1: the key 'a' is given twice"),
        ("a: {b: 1, b: 2}", "line 1, column 11: the key 'b' is given twice"),
        ("a: 1\n" * 300_000, "more than 1,048,576 bytes"),
        ("[" * 10_000, "nested too deeply"),
        ("a: " + "9" * 5_000, "no int: '999"),
        ("!!python/object/apply:os.system [x]", "could not determine a constructor"),
        ("<<: {a: 1}", "could not determine a constructor"),
        ("a: \xff".encode("latin-1"), "can't decode byte 0xff"),
    ],
)
def test_a_yaml_file_that_is_none_is_named_with_its_place(
    tmp_path: Path, text: str | bytes, words: str
) -> None:
    path = tmp_path / "space.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    began = time.process_time()
    with pytest.raises(SpecError) as caught:
        load_yaml(path, "Mend it.", SpecError)
    assert time.process_time() - began < 5.0
    assert str(caught.value).startswith(f"{path}: must be YAML")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"[" * 10_000, "nested too deeply"),
        (b"9" * 5_000, "4300 digits"),
        (b"{", "line 1 column 2"),
        (b"\xff", "can't decode byte 0xff"),
    ],
)
def test_a_json_file_that_is_none_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(StudyError) as caught:
        load_json(path, "Write it again.")
    assert str(caught.value).startswith(f"{path}: must be JSON")
    assert words in str(caught.value)


def test_a_path_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, words in (
        (tmp_path / "absent", "No such file"),
        (tmp_path, "Is a directory"),
        (tmp_path / ("a" * 300), "File name too long"),
        (tmp_path / "a\0b", "null byte"),
    ):
        for load in (load_json, load_yaml):
            with pytest.raises(StudyError, match=words):
                load(path, "Choose another.")
