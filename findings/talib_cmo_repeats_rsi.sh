#!/usr/bin/env bash
# TA-Lib 0.8.2 (Python package), numpy 2.4.6, Python 3.11, Linux; 2026-11-28.
#
# One would expect: CMO is Chande's momentum oscillator, 100 (up - down) / (up + down) with the plain
# sums of the rises and falls of the last n days (Chande and Kroll 1994), so that it forgets a day
# after n days, and tells something that RSI does not.
#
# What happens: rises and falls are smoothed as Wilder's RSI smooths them, by 1 / n and without an
# end. CMO(n) then equals 2 RSI(n) - 100 on every day, to rounding: as a model's inputs the two are
# one. On a random walk it lies up to dozens of points from the oscillator of plain sums.
#
# Output seen:
#   largest |CMO - (2 RSI - 100)|: below 1e-9
#   largest |CMO - plain sums|: above 10
#
# What follows: take one of the two as a feature; compute plain sums for Chande's own.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "TA-Lib==0.8.2" "numpy==2.4.6" \
    2>"$folder/pip.log" || { cat "$folder/pip.log"; exit 1; }
"$folder/venv/bin/python" - <<'PYTHON'
import numpy as np
import talib

DAYS = 14
close = 100 * np.exp(np.random.default_rng(0).normal(0, 0.01, 1000).cumsum())
cmo, rsi = talib.CMO(close, DAYS), talib.RSI(close, DAYS)
moves = np.diff(close)
windows = np.lib.stride_tricks.sliding_window_view(moves, DAYS)
plain = 100 * windows.sum(axis=1) / np.abs(windows).sum(axis=1)
from_rsi = np.abs(cmo - (2 * rsi - 100))[DAYS:].max()
from_sums = np.abs(cmo[DAYS:] - plain).max()
print(f"largest |CMO - (2 RSI - 100)|: {'below 1e-9' if from_rsi < 1e-9 else from_rsi}")
print(f"largest |CMO - plain sums|: {'above 10' if from_sums > 10 else from_sums}")
raise SystemExit(0 if from_rsi < 1e-9 and from_sums > 10 else "the behaviour has changed")
PYTHON
