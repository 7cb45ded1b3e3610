"""The section on data: the RankIC of winners on shares of the training days."""

from analysis.answers.data_answer import CHOICES, ONE_CHOICE, caution
from analysis.answers.report_parts import Cell, Section, Table, days_ahead
from analysis.panel.panel_judgement import JudgedPanel, risen
from analysis.panel.panel_words import claim_on, signed
from analysis.panel.variant_judgement import JudgedShare
from study.text.short_forms import counted


def shares_section(panel: JudgedPanel) -> Section | None:
    """Return the section on shares of the training days; None without any."""
    if not panel.shares:
        return None
    rows: list[list[Cell]] = [
        [each.cell.label, days_ahead(each.cell.horizon), each.share.record.choice,
         f"{each.share.record.share:g}", each.share.record.samples, each.n_seeds, each.rank_ic,
         risen(each.difference.difference), each.difference.claim]
        for each in panel.shares
    ]  # fmt: skip
    has_blocks = any(each.share.record.choice == "blocks" for each in panel.shares)
    return Section(
        name="data",
        title="Does RankIC rise with data?",
        sentences=[
            *(_share_sentence(each) for each in panel.shares),
            caution("RankIC"),
            *[ONE_CHOICE] * has_blocks,
        ],
        tables=[
            Table(
                columns=(
                    "budget", "horizon", "days", "share", "training days", "seeds", "RankIC",
                    "less all days", "claim",
                ),
                rows=rows,
                caption="Test days. The difference is that of the daily RankIC to the final runs "
                "on all training days, paired by seed and day; claims hold after "
                f"{'all ' * (len(rows) > 1)}{counted(len(rows), 'comparison')} of "
                "shares. Training days are the mean over folds of test days.",
            )
        ],
        numbers={
            f"{each.cell.records.name}: {each.share.record.name}": {
                "share": each.share.record.share,
                "train_days": each.share.record.samples,
                "n_seeds": each.n_seeds,
                "rank_ic": each.rank_ic,
                "rank_ic_difference": risen(each.difference.difference),
                "claim": each.difference.claim,
            }
            for each in panel.shares
        },
    )  # fmt: skip


def _share_sentence(each: JudgedShare) -> str:
    """Return what may be said of a share, as far as its interval allows."""
    record, where = each.share.record, f"{each.cell.label}, {days_ahead(each.cell.horizon)}"
    gain = signed(risen(each.difference.difference))
    alone = ", an interval of days alone" if each.n_seeds == 1 else ""
    return (
        f"{where}: RankIC on {record.share:g} of the training days "
        f"({CHOICES.get(record.choice, record.choice)}) less that on all, "
        f"{counted(each.n_seeds, 'seed')}{alone}: {gain}: {claim_on(each.difference)}."
    )
