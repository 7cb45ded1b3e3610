"""Writes a report as one HTML file that needs nothing else, and as Markdown."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.answers.report_parts import Cell, Figure, FirstScreen, Section, Table, shown, sort_key
from analysis.draw import point_id

_HERE = Path(__file__).parent

_ID = re.compile(r'id="(?P<name>[^"]+)"')
_LOCAL = re.compile(r'(xlink:href="#|url\(#)(?P<name>[^")]+)')
_OURS = re.compile(r".+--.+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The content of a report, in order."""

    title: str
    first: FirstScreen
    facts: Sequence[str]
    """Study, data and versions, a line each."""
    summary: Sequence[str]
    """Verdict on each horizon and on all baselines, a line each."""
    missing: Sequence[str]
    """What is not there yet, or could not be read, a line each."""
    sections: Sequence[Section]

    @property
    def figures(self) -> list[Figure]:
        """Every figure, in order."""
        first = [] if self.first.figure is None else [self.first.figure]
        return first + [figure for section in self.sections for figure in section.figures]


def to_html(report: Report, drawings: Mapping[str, str]) -> str:
    """Return the page.

    Args:
        report: the content.
        drawings: SVG text by the name of the figure.
    """
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # Without it a browser asks for a file that is not there.
        '<link rel="icon" href="data:,">',
        f'<meta name="description" content="{html.escape(report.first.headline)}">',
        f"<title>{html.escape(report.title)}</title>",
        f"<style>{(_HERE / 'page.css').read_text(encoding='utf-8')}</style></head><body>",
        _first_screen(report, drawings),
    ]
    if report.missing:
        parts.append(_box("missing", report.missing))
    parts += [
        '<section id="study"><h2>The study, and what is said of each horizon</h2>',
        *(f'<p class="facts">{html.escape(fact)}</p>' for fact in report.facts),
        _box("summary", report.summary),
        "</section>",
    ]
    links = "".join(f'<a href="#{s.name}">{html.escape(s.title)}</a>' for s in report.sections)
    parts.append(f"<nav>{links}</nav>")
    for section in report.sections:
        parts.append(f'<section id="{section.name}"><h2>{html.escape(section.title)}</h2>')
        parts += [f"<p>{html.escape(sentence)}</p>" for sentence in section.sentences]
        if section.figures:
            drawn = "".join(_figure(figure, drawings[figure.name]) for figure in section.figures)
            parts.append(f'<div class="figures">{drawn}</div>')
        parts += [_table(table) for table in section.tables if table.rows]
        parts.append("</section>")
    parts.append('<div id="tip" role="tooltip"></div>')
    parts.append(f"<script>{(_HERE / 'page.js').read_text(encoding='utf-8')}</script>")
    parts.append("</body></html>\n")
    return "\n".join(parts)


def to_markdown(report: Report) -> str:
    """Return the page as Markdown, with figures as files beside it."""
    lines = [
        f"# {report.title}",
        "",
        f"{report.first.scope}.",
        "",
        f"**{report.first.headline}**",
        "",
    ]
    if report.first.figure is not None:
        lines += _markdown_figure(report.first.figure)
    lines += [
        f"**{finding.label}.** {' '.join(finding.clauses)}\n" for finding in report.first.findings
    ]
    lines += [*(f"{fact}  " for fact in report.facts), ""]
    lines += [f"> {sentence}\n>" for sentence in report.summary]
    if report.missing:
        lines += ["", "**Missing**", "", *(f"- {line}" for line in report.missing)]
    for section in report.sections:
        lines += ["", f"## {section.title}", ""]
        lines += [f"{sentence}\n" for sentence in section.sentences]
        lines += [line for figure in section.figures for line in _markdown_figure(figure)]
        for table in section.tables:
            if table.rows:
                lines += _markdown_table(table)
    return "\n".join(lines) + "\n"


def _first_screen(report: Report, drawings: Mapping[str, str]) -> str:
    """Return what a reader sees first; its picture links to the table with its numbers."""
    first = report.first
    parts = [
        '<header id="first">',
        f'<p class="title">{html.escape(f"{report.title}: {first.scope}")}</p>',
        f"<h1>{html.escape(first.headline)}</h1>",
    ]
    if first.figure is not None:
        parts.append(
            _figure(first.figure, drawings[first.figure.name], numbers_in=first.numbers_in)
        )
    parts.append('<div class="findings">')
    for finding in first.findings:
        clauses = [html.escape(clause) for clause in finding.clauses]
        # A statement of one clause is a sentence, and one of several is a list.
        said = clauses[0] if len(clauses) == 1 else f"<ul><li>{'<li>'.join(clauses)}</ul>"
        parts.append(f"<h2>{html.escape(finding.label)}</h2><div>{said}</div>")
    return "\n".join([*parts, "</div></header>"])


def _markdown_figure(figure: Figure) -> list[str]:
    lines = [f"![{figure.alt}](figures/{figure.name}.png)\n"]
    return [*lines, f"*{figure.caption}*\n"] if figure.caption else lines


def _box(kind: str, sentences: Sequence[str]) -> str:
    inner = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)
    return f'<div class="{kind}">{inner}</div>'


def _figure(figure: Figure, svg: str, *, numbers_in: str | None = None) -> str:
    """Return a figure with its caption, and a link to the section that has its numbers."""
    for index, series in enumerate(figure.series):
        for point, label in enumerate(series.labels):
            own = f'id="{point_id(figure, index, point)}"'
            svg = svg.replace(own, f'{own} data-tip="{html.escape(f"{series.name}: {label}")}"')
    svg = _with_own_ids(svg, figure.name)
    head = f'<svg role="img" aria-label="{html.escape(figure.alt)}" '
    drawn = svg.replace("<svg ", head, 1)
    caption = html.escape(figure.caption)
    if numbers_in is not None:
        caption += f' <a href="#{numbers_in}">The numbers</a>'
    return f"<figure>{drawn}{f'<figcaption>{caption}</figcaption>' if caption else ''}</figure>"


def _with_own_ids(svg: str, name: str) -> str:
    """Make the ids of a drawing its own: those of two drawings on a page may be equal."""

    def renamed(match: re.Match[str]) -> str:
        own = match["name"]
        return match[0] if _OURS.fullmatch(own) else match[0].replace(own, f"{name}-{own}")

    return _LOCAL.sub(renamed, _ID.sub(renamed, svg))


def _table(table: Table) -> str:
    caption = f"<caption>{html.escape(table.caption)}</caption>" if table.caption else ""
    kinds = [_kind(value) for value in table.rows[0]]
    head = "".join(
        f'<th tabindex="0" scope="col"{kind}>{html.escape(column)}</th>'
        for column, kind in zip(table.columns, kinds, strict=True)
    )
    rows = "".join(
        f"<tr>{''.join(_cell(value, table.digits) for value in row)}</tr>" for row in table.rows
    )
    return (
        f'<div class="table"><table>{caption}<thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _kind(value: Cell) -> str:
    return ' class="text"' if isinstance(value, str) else ""


def _cell(value: Cell, digits: int) -> str:
    key = html.escape(str(sort_key(value)).replace("-inf", "-1e308"))
    return f'<td{_kind(value)} data-key="{key}">{html.escape(shown(value, digits))}</td>'


def _markdown_table(table: Table) -> list[str]:
    rows = [[shown(value, table.digits) for value in row] for row in table.rows]
    lines = [f"*{table.caption}*", ""] if table.caption else []
    lines += [f"| {' | '.join(table.columns)} |", f"|{'---|' * len(table.columns)}"]
    lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]
    return [*lines, ""]
