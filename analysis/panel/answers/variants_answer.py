"""The section on variants: one setting changed, at the same configuration, seeds and days."""

from analysis.answers.report_parts import Cell, Section, Table, days_ahead
from analysis.panel.panel_judgement import JudgedPanel, risen
from analysis.panel.panel_words import claim_on, signed
from analysis.panel.variant_judgement import JudgedVariant
from study.text.short_forms import counted


def variants_section(panel: JudgedPanel) -> Section | None:
    """Return the section on variants; None without any."""
    if not panel.variants:
        return None
    n = len(panel.variants)
    rows: list[list[Cell]] = [
        [each.cell.label, days_ahead(each.cell.horizon), each.difference.model,
         each.difference.other, each.n_seeds, risen(each.difference.difference),
         each.difference.claim]
        for each in panel.variants
    ]  # fmt: skip
    return Section(
        name="variants",
        title="Does one setting make a difference?",
        sentences=[variant_sentence(each) for each in panel.variants],
        tables=[
            Table(
                columns=(
                    "budget", "horizon", "setting", "against", "seeds", "difference", "claim",
                ),
                rows=rows,
                caption="Daily RankIC with the setting less that of the final runs, paired by seed "
                f"and test day; claims hold after {'all ' * (n > 1)}{counted(n, 'comparison')} of "
                "settings.",
            )
        ],
        numbers={
            f"{each.cell.records.name}: {each.difference.model}": {
                "against": each.difference.other,
                "n_seeds": each.n_seeds,
                "rank_ic_difference": risen(each.difference.difference),
                "claim": each.difference.claim,
            }
            for each in panel.variants
        },
    )  # fmt: skip


def variant_sentence(each: JudgedVariant) -> str:
    """Return what may be said of a variant, as far as its interval allows."""
    where = f"{each.cell.label}, {days_ahead(each.cell.horizon)}"
    gain = signed(risen(each.difference.difference))
    seeds = counted(each.n_seeds, "seed")
    alone = ", an interval of days alone" if each.n_seeds == 1 else ""
    return (
        f"{where}: RankIC with {each.difference.model} less that with {each.difference.other}, "
        f"{seeds}{alone}: {gain}: {claim_on(each.difference)}."
    )
