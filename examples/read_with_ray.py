"""Read a search with Ray's own readers: python examples/read_with_ray.py ray_results/CELL."""

import sys
from pathlib import Path

from ray import tune

from study.tuner.trainable import CellTrainable


def main(folder: Path) -> None:
    """Print the trials of a search, the best one, and where its weights are."""
    # The files are pickles: only the version of Ray that wrote them is sure to read them.
    grid = tune.Tuner.restore(str(folder.resolve()), trainable=CellTrainable).get_results()
    trials = grid.get_dataframe()
    shown = ["epoch", "best_validation_loss", "best_auc", "config/d_model", "config/n_layers"]
    print(trials[[name for name in shown if name in trials]].to_string())
    best = grid.get_best_result()
    print(f"\nbest: trial {best.metrics['record']['number']}, {best.metrics['objective']:.4f}")
    print(f"learning rate: {best.config['learning_rate']:g}")
    if best.checkpoint is not None:
        print(f"checkpoint: {best.checkpoint.path}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
