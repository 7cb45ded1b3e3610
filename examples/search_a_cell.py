"""Plan, search and read one small cell: python examples/search_a_cell.py does it in a minute."""

from ray.tune import ExperimentAnalysis

from study import Study


def main() -> None:
    """Search six tiny trials, print what they found, and write the report of the study."""
    study = Study.load("smoke", results="ray_results/examples")
    cell = study.cell("50k", 1)

    plan = cell.plan()
    assert plan.contents is not None
    print(f"{plan.contents.grid.grid_size} architectures on {plan.contents.device}")

    cell.search(trials=6, fresh=cell.folder.exists())
    columns = ["d_model", "n_layers", "learning_rate", "value", "value_se", "auc", "reason"]
    print(cell.trials().sort_values("value")[columns].to_string())

    # Whoever knows Ray Tune reads the same folder with Ray's own reader.
    results = ExperimentAnalysis(str(cell.folder), default_metric="objective", default_mode="min")
    print(results.dataframe()[["epoch", "best_validation_loss", "config/d_model"]].to_string())

    print(study.report().page)


if __name__ == "__main__":
    main()
