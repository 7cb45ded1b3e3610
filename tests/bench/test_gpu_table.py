"""The table of a GPU is made where there is none as well, in tiny sizes and plainly marked."""

import pytest

from tests.bench import gpu_table


@pytest.mark.slow
def test_the_table_has_all_of_its_rows_without_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_table.main(["--dry-run"]) == 0
    output = capsys.readouterr().out
    assert output.count(gpu_table.DRY) == 2
    for row in ("product rate", "step d16 L1", "2 processes, MPS", "best loss of", "cell of"):
        assert row in output
    assert "FAILED" not in output


def test_the_full_table_has_every_step_that_has_a_bar() -> None:
    rows = {(width, layers) for width, layers, *_ in gpu_table.FULL.steps}
    assert rows == {(192, 4), (64, 64), (384, 12), (768, 28), (2048, 48), (1024, 192)}
