#!/usr/bin/env bash
# PyYAML 6.0.3, Python 3.11, Linux; 2026-11-27.
#
# One would expect: yaml.safe_load raises yaml.YAMLError, the base class that its documentation
# tells to catch, for every text that it cannot turn into a value.
#
# What happens: a scalar whose tag or form is recognised but whose text cannot be converted escapes
# as whatever the conversion raised: KeyError, AttributeError, ValueError. None of them is a
# YAMLError, and AttributeError and KeyError have no common base with it but Exception. An unquoted
# date that is none (2024-13-45) is enough: no tag has to be written.
#
# Output seen:
#   '!!bool x' -> KeyError
#   '!!timestamp x' -> AttributeError
#   '!!int x' -> ValueError
#   'day: 2024-13-45' -> ValueError
#   'a: [' -> ParserError (a YAMLError)
#
# What follows: catch (YAMLError, ValueError, KeyError, AttributeError), or give the loader
# constructors that raise ConstructorError.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "PyYAML==6.0.3" 2>"$folder/pip.log" ||
    { cat "$folder/pip.log"; exit 1; }
"$folder/venv/bin/python" - <<'PYTHON'
import yaml

EXPECTED = {
    "!!bool x": "KeyError",
    "!!timestamp x": "AttributeError",
    "!!int x": "ValueError",
    "day: 2024-13-45": "ValueError",
    "a: [": "ParserError",
}
changed = False
for text, expected in EXPECTED.items():
    try:
        yaml.safe_load(text)
        found = "no error"
    except Exception as error:
        is_yaml_error = isinstance(error, yaml.YAMLError)
        found = type(error).__name__
        print(f"{text!r} -> {found}{' (a YAMLError)' if is_yaml_error else ''}")
        changed |= is_yaml_error != (expected == "ParserError")
    changed |= found != expected
raise SystemExit("the behaviour has changed" if changed else 0)
PYTHON
