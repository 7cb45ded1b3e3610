from study.text.byte_text import gib, in_gib, size


def test_bytes_are_said_in_the_unit_that_suits_them() -> None:
    assert [size(n * 2**20) for n in (283, 1023, 1536)] == ["283 MiB", "1023 MiB", "1.5 GiB"]
    assert (gib(2**28), gib(2**30, 2), in_gib(3 * 2**29)) == ("0.2 GiB", "1.00 GiB", "1.5")
