"""Writes what baselines say of a market's held-out days: others are judged without a search.

python examples/baselines_of_a_market.py sp500 1 sp500_h1.parquet
python -m analysis judge predictions.csv --against sp500_h1.parquet --horizon 1

It reads the labels of the test days: whatever is chosen after a look at them is chosen on them.
"""

import sys
from pathlib import Path

from study.data.data_config import DataConfig
from study.data.dataset import build_dataset
from study.data.holdout import open_holdout
from study.final.holdout_predictions import baseline_table
from study.results.finals.final_records import write_predictions


def main(source: str, horizon: int, file: Path) -> None:
    """Fit the baselines on the training days and write their answers on all others."""
    config = DataConfig(source=source, horizon=horizon, tier="a25")
    holdout = open_holdout(config, build_dataset(config))
    table = baseline_table(config, holdout)
    write_predictions(file, table)
    n_days = table["date"].nunique()
    print(f"{table['model'].nunique()} baselines on {n_days} days of {source} written to {file}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
