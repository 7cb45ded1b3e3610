"""The study's questions, each answered with sentences, tables and pictures from the numbers."""

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy.stats import kendalltau

from analysis.judged import JudgedCell, JudgedHorizon
from analysis.law import Floats
from analysis.runs import LEAST_LEVELS
from analysis.section import Cell, Figure, Section, Series, Table, shown_estimate
from analysis.study import CellRecords, StudyRecords
from analysis.trials import best_of_curve, correlations, difference_of_best
from analysis.verdict import Estimate, LawReport
from study.results.final import MODEL_NAME, ORACLE
from study.results.records import TrialRecord

_SETTINGS = ("learning_rate", "weight_decay", "dropout", "auxiliary_weight", "ema_decay")
_SHAPE = ("d_model", "n_layers", "n_heads", "d_ff_ratio", "patch_length", "patch_stride")

_BUDGET_LOW, _BUDGET_HIGH = 0.75, 1.25
"""Share of its budget that a model may use."""

_DIFFERENT_SHARE = 0.2
"""Relative spread over horizons above which the origin study called a setting different."""

_FEWEST_COMMON = 5
"""Configurations that two horizons must share before their ranks are compared."""

_CURVE_POINTS = 60


def answer(study: StudyRecords, horizons: Sequence[JudgedHorizon]) -> list[Section]:
    """Return the sections of a report that the records allow, in the order of a reader."""
    sections: list[Section] = []
    if horizons:
        sections += [
            _law(horizons),
            _baselines(horizons),
            _selection(horizons),
            _calibration(horizons),
            _winners(horizons),
        ]
        if any(cell.over_oracle for cell in _cells(horizons)):
            sections.insert(0, _oracle(horizons))
    sections += [
        _depth(study),
        _heads(study),
        _horizons(study),
        _budget_use(study),
        _coverage(study),
        _importance(study),
        _time(study),
        _criteria(study, horizons),
    ]
    return sections


def headline(horizons: Sequence[JudgedHorizon]) -> list[str]:
    """Return what a reader must know, a sentence per horizon and one on baselines."""
    found = []
    for each in horizons:
        days = _days(each.horizon)
        if each.law is None:
            found.append(f"{days}: not identified. {_law_sentence(each)}")
        else:
            found.append(f"{days}: {each.law.verdict}. {each.law.sentence}")
    cells = _cells(horizons)
    leaks = [cell.name for cell in cells if cell.is_leak]
    if leaks:
        found.insert(
            0, f"LEAK: better than the best possible answer by three errors: {', '.join(leaks)}."
        )
    better = [c for c in cells if c.difference.is_better]
    worse = [c for c in cells if c.difference.is_worse]
    if cells:
        found.append(
            f"Against the best baseline of validation, on test days: {len(better)} of {len(cells)} "
            f"cells are better after all comparisons, {len(worse)} are worse, of the rest nothing "
            "can be said."
        )
    return found


def _days(horizon: int) -> str:
    return "1 day ahead" if horizon == 1 else f"{horizon} days ahead"


def _oracle(horizons: Sequence[JudgedHorizon]) -> Section:
    rows: list[list[Cell]] = [
        [cell.records.budget, _days(cell.records.horizon), cell.scores[ORACLE].log_loss,
         cell.scores[MODEL_NAME].log_loss, cell.over_oracle, "LEAK" if cell.is_leak else "no"]
        for cell in _cells(horizons)
        if cell.over_oracle is not None
    ]  # fmt: skip
    leaks = sum(row[-1] == "LEAK" for row in rows)
    return Section(
        name="oracle",
        title="How far from the best possible answer?",
        sentences=[
            "This market is drawn, so the best possible answer of every day is known; the excess "
            "is what a model has not learnt. "
            + (
                f"{leaks} cells beat it by more than three standard errors: the inputs must know "
                "the future."
                if leaks
                else "No cell beats it by more than three standard errors, which would be a leak."
            )
        ],
        tables=[
            Table(
                columns=("budget", "horizon", "best possible", "model", "excess", "leak"),
                rows=rows,
                caption="Log-loss on test days, nats; the excess is paired by day.",
            )
        ],
        numbers={
            cell.name: {"excess": cell.over_oracle, "is_leak": cell.is_leak}
            for cell in _cells(horizons)
        },
    )


def _law(horizons: Sequence[JudgedHorizon]) -> Section:
    sentences: list[str] = []
    rows: list[list[Cell]] = []
    figures: list[Figure] = []
    for each in horizons:
        report = each.law
        sentences.append(f"{_days(each.horizon)}: " + _law_sentence(each))
        if each.excluded:
            sentences.append(f"Left out of the law: {', and '.join(each.excluded)}.")
        if each.law_of_all is not None:
            sentences.append(f"With them: {each.law_of_all.sentence}")
        by_note: dict[str, list[str]] = {}
        for cell in each.cells:
            for note in cell.notes:
                by_note.setdefault(note, []).append(cell.records.budget)
        sentences += [
            f"{_days(each.horizon)}, {', '.join(budgets)}: {note}."
            for note, budgets in by_note.items()
        ]
        figures.append(_law_figure(each))
        rows += [_law_row(each.horizon, name, report) for name in (report.forms if report else ())]
        if report is not None and report.profile:
            figures.append(_profile_figure(each.horizon, report))
    pairs: list[list[Cell]] = [
        [_days(each.horizon), pair.model, pair.other, pair.difference]
        for each in horizons
        for pair in each.pairs
    ]
    return Section(
        name="law",
        title="Does error fall with size?",
        sentences=sentences,
        tables=[
            Table(
                columns=(
                    "horizon", "form", "alpha", "E", "objective", "starts that found it",
                    "came to rest", "AICc",
                ),
                rows=rows,
                caption="Fits to every final run, Huber loss on logs. AICc only where defined.",
            ),
            Table(
                columns=("horizon", "budget", "less", "difference in log-loss"),
                rows=pairs,
                caption="Each budget against the next smaller one, same test days.",
            ),
        ],
        figures=figures,
        numbers={str(each.horizon): _law_numbers(each) for each in horizons},
    )  # fmt: skip


def _law_sentence(each: JudgedHorizon) -> str:
    if each.law is None:
        n = len(each.cells)
        sentence = (
            f"No law can be fitted: {n - len(each.excluded)} of {n} budgets with final runs may be "
            f"in it, and {LEAST_LEVELS} are needed."
        )
        if each.law_of_all is not None:
            sentence += f" With the others: {each.law_of_all.verdict}."
        return sentence
    sentence = f"{each.law.verdict}. {each.law.sentence}"
    held_out = each.law.held_out
    if held_out is not None:
        words = {True: "inside", False: "outside", None: "without"}[held_out.is_covered]
        sentence += (
            f" The largest size, predicted from the others, is {words} its interval "
            f"(log error {held_out.log_error:+.4f})."
        )
    among = ", ".join(each.best_set)
    return f"{sentence} With 90 % confidence the best budget is among: {among}."


def _law_row(horizon: int, name: str, report: LawReport | None) -> list[Cell]:
    assert report is not None
    form = report.forms[name]
    return [
        _days(horizon),
        name,
        form.estimates.get("alpha"),
        form.estimates["E"] if form.fit.law.has_floor else None,
        f"{form.fit.objective:.3g}",
        f"{form.fit.reached:.0%} of {form.fit.n_starts}",
        "yes" if form.fit.converged else "no",
        None if form.aicc is None else f"{form.aicc:.1f}",
    ]


def _law_numbers(each: JudgedHorizon) -> dict[str, object]:
    report = each.law
    return {
        "verdict": "not identified" if report is None else report.verdict,
        "sentence": _law_sentence(each),
        "trend": None if report is None else report.trend,
        "permutation_p": None if report is None else report.permutation_p,
        "resampled": None if report is None else report.resampled,
        "n_runs": 0 if report is None else len(report.runs),
        "excluded": list(each.excluded),
        "best_set": list(each.best_set),
        "verdict_of_all": None if each.law_of_all is None else each.law_of_all.verdict,
        "profile": [] if report is None else [list(point) for point in report.profile],
        "forms": {}
        if report is None
        else {
            name: {**form.estimates, "objective": form.fit.objective, "aicc": form.aicc}
            for name, form in report.forms.items()
        },
    }


def _law_figure(each: JudgedHorizon) -> Figure:
    """Draw losses less that of the smallest budget: what days have in common cancels."""
    first = each.cells[0]
    level = float(first.losses.mean())
    sizes = [float(cell.final.param_count) for cell in each.cells]
    series = [
        Series(
            name="mean of the winner's runs",
            x=sizes,
            y=[e.value for e in each.from_smallest],
            low=[_low(e) for e in each.from_smallest],
            high=[_high(e) for e in each.from_smallest],
            labels=[
                f"{cell.records.budget}: {shown_estimate(e)}"
                for cell, e in zip(each.cells, each.from_smallest, strict=True)
            ],
        )
    ]
    seeds = [
        (size, float(loss) - level, cell.records.budget)
        for size, cell in zip(sizes, each.cells, strict=True)
        for loss in cell.losses.mean(axis=1)
    ]
    series.append(
        Series(
            name="each seed",
            x=[size for size, _, _ in seeds],
            y=[loss for _, loss, _ in seeds],
            labels=[f"{budget}: {loss:+.4f}" for _, loss, budget in seeds],
        )
    )
    if each.law is not None:
        series.append(_fitted_line(each.law, level))
    rivals = sorted(
        {(cell.rival, cell.scores[cell.rival].log_loss.value - level) for cell in each.cells}
    )
    series += [
        Series(
            name=name, x=[min(sizes), max(sizes)], y=[loss, loss], is_line=True, is_reference=True
        )
        for name, loss in rivals
    ]
    return Figure(
        name=f"law_h{each.horizon}",
        title=f"Log-loss on test days less that of {first.records.budget}, {_days(each.horizon)}",
        x_label="parameters",
        y_label="nats per day",
        series=series,
        log_x=True,
        alt=f"Test loss of {len(sizes)} budgets less that of the smallest, with 95 % intervals of "
        "the paired difference.",
    )


def _fitted_line(report: LawReport, level: float) -> Series:
    best = report.forms[report.chosen].fit
    sizes = report.runs.sizes[:, 0]
    x = np.geomspace(sizes.min(), sizes.max(), _CURVE_POINTS)
    return Series(
        name=f"{report.chosen} law",
        x=x.tolist(),
        y=(best.predict(x[:, None]) - level).tolist(),
        is_line=True,
    )


def _profile_figure(horizon: int, report: LawReport) -> Figure:
    return Figure(
        name=f"profile_h{horizon}",
        title=f"What the floor does to alpha, {_days(horizon)}",
        x_label="floor E that is assumed, nats",
        y_label="alpha that then fits best",
        series=[
            Series(
                name="alpha at that floor",
                x=[floor for floor, _, _ in report.profile],
                y=[alpha for _, _, alpha in report.profile],
                is_line=True,
            )
        ],
        alt="The exponent of the law as a function of the floor that is assumed.",
    )


def _baselines(horizons: Sequence[JudgedHorizon]) -> Section:
    sentences: list[str] = []
    tables: list[Table] = []
    figures: list[Figure] = []
    for each in horizons:
        for cell in each.cells:
            difference = cell.difference
            claim = (
                "better" if difference.is_better
                else "worse" if difference.is_worse
                else "not told apart"
            )  # fmt: skip
            sentences.append(
                f"{cell.records.budget}, {_days(each.horizon)}: against {cell.rival} "
                f"{claim}, {shown_estimate(difference.difference)} nats per day"
                + ("" if difference.survives or not difference.excludes_zero
                   else " (not after all comparisons)")
                + "."
            )  # fmt: skip
        tables.append(_score_table(each))
        figures.append(_baseline_figure(each))
    return Section(
        name="baselines",
        title="Is a transformer better than what a sceptic would use?",
        sentences=sentences,
        tables=tables,
        figures=figures,
        numbers={
            cell.name: {
                "rival": cell.rival,
                "difference": cell.difference.difference,
                "is_better": cell.difference.is_better,
                "n_days": len(cell.test.y),
                "effective_days": cell.final.splits["test"]["effective_size"],
                "scores": {
                    model: {
                        "log_loss": s.log_loss, "skill_train_prior": s.skill_train_prior,
                        "skill_own_prior": s.skill_own_prior, "auc": s.auc, "brier": s.brier,
                        "ece": s.ece, "is_collapsed": s.is_collapsed, "n_seeds": s.n_seeds,
                    }
                    for model, s in cell.scores.items()
                },
            }
            for each in horizons
            for cell in each.cells
        },
    )  # fmt: skip


def _score_table(each: JudgedHorizon) -> Table:
    """Return a row per budget and, once, per baseline: all are judged on the same days."""
    scored = [(cell.records.budget, cell.scores[MODEL_NAME]) for cell in each.cells]
    scored += [(model, s) for model, s in each.cells[0].scores.items() if model != MODEL_NAME]
    scored.sort(key=lambda pair: pair[1].log_loss.value)
    return Table(
        columns=(
            "model", "log-loss", "AUC", "skill, train prior", "skill, test prior", "Brier", "ECE",
            "accuracy", "majority accuracy",
        ),
        rows=[
            [
                name, s.log_loss, s.auc, s.skill_train_prior, s.skill_own_prior, s.brier, s.ece,
                s.decisions[0].accuracy, s.decisions[0].majority_accuracy,
            ]
            for name, s in scored
        ],
        digits=3,
        caption=f"{_days(each.horizon).capitalize()}, {len(each.cells[0].test.y)} test days; 95 % "
        "intervals over blocks of days and seeds. They are wide because days differ, for all "
        "models alike: models are compared by the paired differences above.",
    )  # fmt: skip


def _baseline_figure(each: JudgedHorizon) -> Figure:
    base = each.cells[0]
    baselines = [m for m in base.scores if m != MODEL_NAME]
    baselines.sort(key=lambda m: base.scores[m].log_loss.value)
    names = [*(cell.records.budget for cell in each.cells), *baselines]
    own = [cell.scores[MODEL_NAME].log_loss for cell in each.cells]
    others = [base.scores[m].log_loss for m in baselines]
    return Figure(
        name=f"baselines_h{each.horizon}",
        title=f"Log-loss on test days, {_days(each.horizon)}",
        x_label="",
        y_label="nats per day",
        series=[
            _with_intervals("transformer", range(len(own)), own, names),
            _with_intervals(
                "baseline", range(len(own), len(names)), others, baselines, is_reference=True
            ),
        ],
        categories=names,
        alt="Test loss of every budget and every baseline with 95 % intervals.",
    )


def _with_intervals(
    name: str,
    x: Sequence[int] | range,
    estimates: Sequence[Estimate],
    labels: Sequence[str],
    *,
    is_reference: bool = False,
) -> Series:
    return Series(
        name=name,
        x=list(x),
        y=[e.value for e in estimates],
        low=[_low(e) for e in estimates],
        high=[_high(e) for e in estimates],
        labels=[
            f"{label}: {shown_estimate(e)}" for label, e in zip(labels, estimates, strict=False)
        ],
        is_reference=is_reference,
    )


def _low(estimate: Estimate) -> float:
    return estimate.value if estimate.low is None else estimate.low


def _high(estimate: Estimate) -> float:
    return estimate.value if estimate.high is None else estimate.high


def _selection(horizons: Sequence[JudgedHorizon]) -> Section:
    rows: list[list[Cell]] = []
    shrinkages = []
    for cell in _cells(horizons):
        final = cell.final
        chosen = next(s for s in final.selection if s.trial == final.winner)
        values = [run.value for run in final.runs if run.value is not None and run.is_rankable]
        if final.with_validation:
            values = []
        validation = float(np.mean(values)) if values else None
        shrinkage = None if validation is None else validation - final.search_value
        if shrinkage is not None:
            shrinkages.append(shrinkage)
        rows.append(
            [
                cell.records.budget, _days(cell.records.horizon), final.search_value,
                chosen.mean_value, validation, shrinkage, cell.scores[MODEL_NAME].log_loss,
            ]
        )  # fmt: skip
    sentences = []
    if shrinkages:
        up = sum(value > 0 for value in shrinkages)
        sentences.append(
            f"The loss by which a winner was chosen was lower than that of its final runs on the "
            f"same validation days in {up} of {len(shrinkages)} cells, by "
            f"{np.mean(shrinkages):.4f} nats on average: that is the optimism of having chosen the "
            "best of many."
        )
    return Section(
        name="selection",
        title="How much of a winner was luck?",
        sentences=sentences,
        tables=[
            Table(
                columns=(
                    "budget", "horizon", "search", "fresh seeds (choice)", "final runs",
                    "shrinkage", "test",
                ),
                rows=rows,
                caption="Validation losses, in nats: of the trial in the search, of the fresh runs "
                "that chose it, of the final runs; then the loss on test days, which are other "
                "days with another base rate.",
            )
        ],
        numbers={"mean_shrinkage": float(np.mean(shrinkages)) if shrinkages else None},
    )  # fmt: skip


def _calibration(horizons: Sequence[JudgedHorizon]) -> Section:
    rows: list[list[Cell]] = []
    figures = []
    for each in horizons:
        series = []
        for cell in each.cells:
            s = cell.scores[MODEL_NAME]
            rows += [
                [
                    cell.records.budget, _days(each.horizon), s.ece, s.logit_sd, d.threshold,
                    round(d.said_yes), d.positives, d.precision, d.recall, d.accuracy,
                    d.majority_accuracy,
                ]
                for d in s.decisions
            ]  # fmt: skip
            series.append(
                Series(
                    name=cell.records.budget,
                    x=[b.predicted for b in s.reliability],
                    y=[b.observed for b in s.reliability],
                    labels=[f"{b.n} days: {b.predicted:.3f} said, {b.observed:.3f} came"
                            for b in s.reliability],
                )
            )  # fmt: skip
        series.append(Series(name="perfect", x=[0, 1], y=[0, 1], is_line=True, is_reference=True))
        figures.append(
            Figure(
                name=f"reliability_h{each.horizon}",
                title=f"Said and come true, {_days(each.horizon)}",
                x_label="mean probability of a tenth of the days",
                y_label="share of those days that were positive",
                series=series,
                alt="Reliability curves of the winners in bins of equal count.",
            )
        )
    collapsed = [
        f"{cell.records.budget} {_days(cell.records.horizon)}"
        for cell in _cells(horizons)
        if cell.scores[MODEL_NAME].is_collapsed
    ]
    return Section(
        name="calibration",
        title="Can the probabilities be taken at their word?",
        sentences=[
            f"Collapsed onto a constant: {', '.join(collapsed)}."
            if collapsed
            else "No winner has collapsed onto a constant."
        ],
        tables=[
            Table(
                columns=(
                    "budget", "horizon", "ECE", "sd of logits", "yes from", "days said yes",
                    "positive days", "precision", "recall", "accuracy", "majority accuracy",
                ),
                rows=rows,
                digits=3,
                caption="Yes is said from a probability on: one half, and the base rate of the "
                "training days. Counts are means over seeds.",
            )
        ],
        figures=figures,
        numbers={"collapsed": collapsed},
    )  # fmt: skip


def _winners(horizons: Sequence[JudgedHorizon]) -> Section:
    rows: list[list[Cell]] = []
    for cell in _cells(horizons):
        final = cell.final
        p = final.params
        share = final.param_count / final.budget_parameters
        rows.append(
            [
                cell.records.budget, _days(cell.records.horizon), final.param_count,
                f"{share:.0%}", p["d_model"], p["n_layers"], p["n_heads"],
                p["n_layers"] / p["d_model"], f"{p['learning_rate']:.2e}", p.get("dropout"),
                "; ".join(final.edges) or None,
            ]
        )  # fmt: skip
    return Section(
        name="winners",
        title="Which architecture is best for each budget?",
        sentences=[
            f"{len(rows)} cells have a winner; "
            f"{sum(row[-1] is not None for row in rows)} of them lie at the edge of what was "
            "searched."
        ],
        tables=[
            Table(
                columns=(
                    "budget",
                    "horizon",
                    "parameters",
                    "of the budget",
                    "width",
                    "layers",
                    "heads",
                    "layers / width",
                    "learning rate",
                    "dropout",
                    "at the edge",
                ),
                rows=rows,
                digits=3,
            )
        ],
    )


def _depth(study: StudyRecords) -> Section:
    def ratio(trial: TrialRecord) -> float:
        return float(trial.params["n_layers"]) / float(trial.params["d_model"])

    def split(cell: CellRecords) -> Callable[[TrialRecord], bool]:
        middle = float(np.median([ratio(trial) for trial in cell.rankable]))
        return lambda trial: ratio(trial) > middle

    return _grouped(
        study,
        name="depth",
        title="Does depth win over width?",
        first="deep",
        second="wide",
        split=split,
        caption="Deep: layers / width above the cell's median. The expected best of equally many "
        "trials of either group; negative means that deep is better.",
    )


def _heads(study: StudyRecords) -> Section:
    def split(cell: CellRecords) -> Callable[[TrialRecord], bool]:
        middle = float(np.median([float(t.params["n_heads"]) for t in cell.rankable]))
        return lambda trial: float(trial.params["n_heads"]) > middle

    return _grouped(
        study,
        name="heads",
        title="Do more heads help?",
        first="more",
        second="fewer",
        split=split,
        caption="More: above the cell's median. The expected best of equally many trials of either "
        "group; negative means that more heads are better.",
    )


def _grouped(
    study: StudyRecords,
    *,
    name: str,
    title: str,
    first: str,
    second: str,
    split: Callable[[CellRecords], Callable[[TrialRecord], bool]],
    caption: str,
) -> Section:
    rows: list[list[Cell]] = []
    told = {first: 0, second: 0}
    numbers = {}
    for cell in study.cells:
        found = difference_of_best(cell.rankable, split(cell)) if cell.rankable else None
        if found is None:
            rows.append([cell.budget, _days(cell.horizon), None, None, "too few trials"])
            continue
        difference, k = found
        assert difference.low is not None
        assert difference.high is not None
        claim = "not told apart"
        if difference.high < 0 or difference.low > 0:
            claim = first if difference.value < 0 else second
            told[claim] += 1
        rows.append([cell.budget, _days(cell.horizon), k, difference, claim])
        numbers[cell.name] = {"difference": difference, "k": k, "claim": claim}
    n = sum(told.values())
    return Section(
        name=name,
        title=title,
        sentences=[
            f"In {len(rows) - n} of {len(rows)} cells nothing can be said; {first} is better in "
            f"{told[first]}, {second} in {told[second]}. "
            f"About {0.05 * len(rows):.1f} such claims are expected by chance."
        ],
        tables=[
            Table(
                columns=("budget", "horizon", "trials of each", f"{first} less {second}", "claim"),
                rows=rows,
                caption=caption,
            )
        ],
        numbers=numbers,
    )


def _horizons(study: StudyRecords) -> Section:
    rows: list[list[Cell]] = []
    transfer: list[list[Cell]] = []
    numbers: dict[str, object] = {}
    for budget in dict.fromkeys(cell.budget for cell in study.cells):
        cells = [cell for cell in study.cells if cell.budget == budget]
        for first, second in itertools.combinations(cells, 2):
            losses = _common(first, second)
            n = losses.shape[1]
            tau = None
            if n >= _FEWEST_COMMON:
                tau = _tau(losses)
                numbers[f"{budget} h{first.horizon} h{second.horizon}"] = {"tau": tau, "n": n}
            rows.append([budget, f"{first.horizon} and {second.horizon}", n, tau])
            for taken, asked, own in ((first, second, 0), (second, first, 1)):
                if n:
                    best = int(np.argmin(losses[own]))
                    regret = float(losses[1 - own, best] - losses[1 - own].min())
                    transfer.append([budget, taken.horizon, asked.horizon, n, regret])
    spreads = [_spread_row(study, budget) for budget in
               dict.fromkeys(cell.budget for cell in study.cells)]  # fmt: skip
    taus = [row[3] for row in rows if isinstance(row[3], Estimate)]
    positive = sum(tau.low is not None and tau.low > 0 for tau in taus)
    sentence = (
        f"Of {len(taus)} pairs of horizons with enough configurations in common, {positive} rank "
        "them alike beyond chance. How alike two searches of the same horizon would rank them is "
        "not measured here, so a low correlation is no evidence of a difference."
        if taus
        else "No two horizons share enough configurations to compare their ranks."
    )
    return Section(
        name="horizons",
        title="Does the horizon change the answer?",
        sentences=[sentence],
        tables=[
            Table(
                columns=("budget", "horizons", "configurations in common", "Kendall's tau"),
                rows=rows,
                caption="Ranks by validation loss of the configurations that both searches tried: "
                "forced ones, and the random ones that begin every search.",
                digits=2,
            ),
            Table(
                columns=("budget", "best of", "asked at", "configurations", "regret, nats"),
                rows=transfer,
                caption="What is lost on validation by taking the best common configuration of "
                "another horizon.",
            ),
            Table(
                columns=("budget", *_SETTINGS[:3]),
                rows=[row for row in spreads if row is not None],
                caption=f"Relative spread of the best settings over horizons; the origin study "
                f"called more than {_DIFFERENT_SHARE:.0%} different. In brackets the spread among "
                "the best five trials of one horizon: where that is as large, the rule says "
                "nothing.",
                digits=2,
            ),
        ],
        numbers=numbers,
    )


def _common(first: CellRecords, second: CellRecords) -> Floats:
    """Return the losses of the configurations that both tried, shape (2, n)."""

    def by_params(cell: CellRecords) -> dict[tuple[tuple[str, object], ...], float]:
        return {
            tuple(sorted(trial.params.items())): trial.value
            for trial in cell.rankable
            if trial.value is not None and trial.reason != "asha"
        }

    one, two = by_params(first), by_params(second)
    shared = [params for params in one if params in two]
    return np.array([[one[p] for p in shared], [two[p] for p in shared]]).reshape(2, -1)


def _tau(losses: Floats) -> Estimate:
    draw = np.random.default_rng(0)
    n = losses.shape[1]
    spread = []
    for _ in range(500):
        rows = draw.integers(n, size=n)
        value = float(kendalltau(losses[0, rows], losses[1, rows]).statistic)
        if np.isfinite(value):
            spread.append(value)
    low, high = np.quantile(spread, [0.025, 0.975])
    value = float(kendalltau(losses[0], losses[1]).statistic)
    return Estimate(value=value, low=float(low), high=float(high), se=float(np.std(spread)))


def _spread_row(study: StudyRecords, budget: str) -> list[Cell] | None:
    cells = [cell for cell in study.cells if cell.budget == budget and cell.rankable]
    if len(cells) < 2:
        return None
    row: list[Cell] = [budget]
    for name in _SETTINGS[:3]:
        best = np.array([float(cell.rankable[0].params[name]) for cell in cells])
        within = [
            np.array([float(trial.params[name]) for trial in cell.rankable[:5]]) for cell in cells
        ]
        inner = float(np.mean([_relative_spread(values) for values in within]))
        row.append(f"{_relative_spread(best):.0%} ({inner:.0%})")
    return row


def _relative_spread(values: Floats) -> float:
    mean = abs(float(values.mean()))
    return float(np.ptp(values)) / mean if mean else 0.0


def _budget_use(study: StudyRecords) -> Section:
    rows: list[list[Cell]] = []
    outside = 0
    for cell in study.cells:
        shares = np.array([t.param_count / cell.budget_parameters for t in cell.trials])
        if not len(shares):
            continue
        outside += int(((shares < _BUDGET_LOW) | (shares > _BUDGET_HIGH)).sum())
        best = cell.rankable[0].param_count / cell.budget_parameters if cell.rankable else None
        rows.append(
            [cell.budget, _days(cell.horizon), f"{shares.min():.0%}", f"{np.median(shares):.0%}",
             f"{shares.max():.0%}", None if best is None else f"{best:.0%}"]
        )  # fmt: skip
    return Section(
        name="budget",
        title="Do models use their budget?",
        sentences=[
            f"{outside} trials of all cells lie outside of 75 to 125 % of their budget, by exact "
            "count."
        ],
        tables=[
            Table(columns=("budget", "horizon", "least", "median", "most", "best trial"), rows=rows)
        ],
        numbers={"outside": outside},
    )


def _coverage(study: StudyRecords) -> Section:
    rows: list[list[Cell]] = []
    series = []
    for cell in study.cells:
        values = np.array([t.value for t in cell.rankable], dtype=np.float64)
        reasons = [t.reason for t in cell.trials]
        distinct = len({tuple(sorted(t.params.items())) for t in cell.trials})
        shapes = len({(t.params["d_model"], t.params["n_layers"]) for t in cell.trials})
        spread = float(np.ptp(values) / values.min()) if len(values) else None
        rows.append(
            [
                cell.budget, _days(cell.horizon), len(cell.trials), distinct, shapes,
                sum(t.source == "sampled" for t in cell.trials), reasons.count("asha"),
                sum(not t.is_rankable for t in cell.trials),
                None if spread is None else f"{spread:.1%}",
            ]
        )  # fmt: skip
        if len(values) >= 2:
            curve = best_of_curve(values)
            series.append(
                Series(
                    name=f"{cell.budget} h{cell.horizon}",
                    x=list(range(1, len(curve) + 1)),
                    y=[e.value - float(values.min()) for e in curve],
                    is_line=True,
                )
            )
    return Section(
        name="coverage",
        title="Was the search a good one?",
        sentences=[
            f"{sum(cell.is_complete for cell in study.cells)} of {len(study.cells)} searches are "
            "complete. The curve shows what fewer trials would have found; it takes trials for "
            "independent draws, which TPE's and ASHA's are not, so it flatters small numbers."
        ],
        tables=[
            Table(
                columns=(
                    "budget",
                    "horizon",
                    "trials",
                    "distinct",
                    "shapes",
                    "sampled",
                    "cut by ASHA",
                    "failed or collapsed",
                    "spread of losses",
                ),
                rows=rows,
            )
        ],
        figures=[
            Figure(
                name="best_of_k",
                title="Expected best of k trials, above the best of all",
                x_label="trials",
                y_label="nats per day",
                series=series,
                alt="How the best validation loss falls with the number of trials.",
            )
        ]
        if series
        else [],
    )


def _importance(study: StudyRecords) -> Section:
    rows: list[list[Cell]] = []
    numbers: dict[str, object] = {}
    names = (*_SHAPE, *_SETTINGS)
    for cell in study.cells:
        trials = [t for t in cell.rankable if t.reason != "asha"]
        if len(trials) < 2 * _FEWEST_COMMON:
            continue
        found = correlations(trials, [n for n in names if n in trials[0].params])
        ordered = sorted(found, key=lambda name: -abs(found[name].value))
        rows += [[cell.budget, _days(cell.horizon), name, found[name]] for name in ordered]
        numbers[cell.name] = found
    return Section(
        name="importance",
        title="Which settings matter?",
        sentences=[
            "Rank correlations with the validation loss over the trials that ran to their end; "
            "negative: larger values have lower losses. They are no causes: the sampler looks "
            "where losses are low, and width, depth and heads hang together in a budget."
            if rows
            else f"No search has the {2 * _FEWEST_COMMON} whole trials that this needs."
        ],
        tables=[
            Table(columns=("budget", "horizon", "setting", "Spearman's rho"), rows=rows, digits=2)
        ]
        if rows
        else [],
        numbers=numbers,
    )


def _time(study: StudyRecords) -> Section:
    rows: list[list[Cell]] = []
    ratios = []
    for cell in study.cells:
        estimate = cell.searched.get("estimate", {}).get("search_seconds_expected")
        if not cell.trials:
            continue
        taken = max(t.ended for t in cell.trials) - min(t.started for t in cell.trials)
        busy = sum(t.duration_seconds or 0.0 for t in cell.trials)
        if estimate and cell.is_complete:
            ratios.append(taken / estimate)
        rows.append([cell.budget, _days(cell.horizon), _minutes(estimate), _minutes(taken),
                     _minutes(busy)])  # fmt: skip
    sentence = (
        f"From its first trial to its last a search took {np.median(ratios):.2f} times its "
        "estimate (median); beside other cells it takes longer than the estimate, which is for "
        "the cell alone."
        if ratios
        else "No complete search has an estimate."
    )
    return Section(
        name="time",
        title="How long did it take, and how long was expected?",
        sentences=[sentence],
        tables=[
            Table(
                columns=(
                    "budget", "horizon", "estimate, minutes", "taken, minutes",
                    "all trials, minutes",
                ),
                rows=rows,
                digits=1,
            )
        ],
        numbers={"median_ratio": float(np.median(ratios)) if ratios else None},
    )  # fmt: skip


def _minutes(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 60


def _criteria(study: StudyRecords, horizons: Sequence[JudgedHorizon]) -> Section:
    cells = _cells(horizons)
    own = [cell.scores[MODEL_NAME] for cell in cells]
    checks: Mapping[str, tuple[int, int]] = {
        "searches complete": (sum(c.is_complete for c in study.cells), len(study.cells)),
        "cells with final runs": (len(cells), len(study.cells)),
        "winners that did not collapse": (sum(not s.is_collapsed for s in own), len(own)),
        "winners inside what was searched": (sum(not c.final.edges for c in cells), len(cells)),
        "cells with five seeds or more": (sum(s.n_seeds >= 5 for s in own), len(own)),
        "cells with skill against the test prior, interval above 0": (
            sum(s.skill_own_prior.low is not None and s.skill_own_prior.low > 0 for s in own),
            len(own),
        ),
        "cells better than their rival after all comparisons": (
            sum(c.difference.is_better for c in cells), len(cells),
        ),
        "horizons with an identified law": (
            sum(h.law is not None and h.law.verdict in ("scaling", "inverse scaling")
                for h in horizons),
            len(horizons),
        ),
    }  # fmt: skip
    rows: list[list[Cell]] = [
        [name, f"{holds} of {n}", "pass" if n and holds == n else "fail"]
        for name, (holds, n) in checks.items()
    ]
    passed = sum(row[2] == "pass" for row in rows)
    return Section(
        name="criteria",
        title="Does the study meet its criteria?",
        sentences=[f"{passed} of {len(rows)} criteria hold."],
        tables=[Table(columns=("criterion", "holds in", "verdict"), rows=rows)],
        numbers={name: {"holds": holds, "of": n} for name, (holds, n) in checks.items()},
    )


def _cells(horizons: Sequence[JudgedHorizon]) -> list[JudgedCell]:
    return [cell for each in horizons for cell in each.cells]
