"""Each part of a start that takes more than two seconds has a line of its own."""

from study.terminal.overview import RAY_START, start_line, training_start


def test_a_start_names_its_parts_in_the_column_of_the_plan() -> None:
    assert start_line(RAY_START) == "  start   Ray and the libraries of a search"
    assert start_line(training_start(1)) == "  start   1 worker, to train trials"
    assert start_line(training_start(8)) == "  start   8 workers, to train trials"
