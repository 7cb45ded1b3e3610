from study.statistics.block_length import block_days, judged_block_days


def test_blocks_outlast_the_horizon() -> None:
    assert [block_days(h) for h in (1, 5, 10)] == [20, 20, 40]
    assert [judged_block_days(h, 712) for h in (1, 5, 10)] == [20, 20, 40]
    assert [judged_block_days(1, n) for n in (2_499, 2_500, 7_300)] == [20, 250, 250]
    assert judged_block_days(100, 7_300) == 400
