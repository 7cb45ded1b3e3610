import os
import subprocess
import sys
from pathlib import Path

import pytest


def font_folder(temporary: Path) -> str:
    """Return where matplotlib keeps its fonts in a process of its own."""
    program = "import os, study; print(os.environ['MPLCONFIGDIR'])"
    environment = {**os.environ, "TMPDIR": str(temporary)}
    environment.pop("MPLCONFIGDIR", None)
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_fonts_are_kept_in_a_folder_of_this_user_alone(tmp_path: Path) -> None:
    folder = Path(font_folder(tmp_path))
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert font_folder(tmp_path) == str(folder)


@pytest.mark.parametrize("how", ["a link", "open to all"])
def test_a_folder_that_others_can_have_prepared_is_not_used(tmp_path: Path, how: str) -> None:
    folder = Path(font_folder(tmp_path))
    if how == "a link":
        folder.rmdir()
        (tmp_path / "victim").mkdir()
        folder.symlink_to(tmp_path / "victim")
    else:
        folder.chmod(0o777)
    assert font_folder(tmp_path) == os.devnull
