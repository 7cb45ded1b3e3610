"""Run as the sweep command: its cells are searched by ``tests.sweeping.held_cell``."""

import sys

from study.sweep import main

if __name__ == "__main__":
    sys.exit(main(driver=(sys.executable, "-m", "tests.sweeping.held_cell")))
