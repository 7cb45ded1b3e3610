"""Plan, search and read one small cell: python examples/search_a_cell.py."""

from ray.tune import ExperimentAnalysis

from study import Study


def main() -> None:
    """Search six tiny trials, print what they found, and write the report of the study."""
    study = Study.load("smoke", results="ray_results/examples")
    cell = study.cell("50k", 1)

    plan = cell.plan()
    print(f"{len(plan.space.shapes)} architectures, {plan.concurrency} trials at once")

    cell.search(trials=6, fresh=cell.folder.exists())
    columns = ["d_model", "n_layers", "learning_rate", "value", "value_se", "auc", "reason"]
    print(cell.trials().sort_values("value")[columns].to_string())
    best = cell.best
    if best is not None:
        print(f"trial {best.number} is the best: {best.value:.4f} +- {best.value_se:.4f}")

    # Ray's own reader opens the same folder.
    analysis = ExperimentAnalysis(str(cell.folder))
    print(analysis.dataframe()["validation_loss"].describe())

    print(study.report().page)


if __name__ == "__main__":
    main()
