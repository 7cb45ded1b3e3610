"""Writes a report as one HTML file that needs nothing else, and as Markdown."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.answers.report_parts import Cell, Figure, Section, Table, shown, sort_key
from analysis.draw import point_id

_HERE = Path(__file__).parent

_ID = re.compile(r'id="(?P<name>[^"]+)"')
_LOCAL = re.compile(r'(xlink:href="#|url\(#)(?P<name>[^")]+)')
_OURS = re.compile(r".+--.+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """The content of a report, in order."""

    title: str
    facts: Sequence[str]
    """Study, data and versions, a line each."""
    summary: Sequence[str]
    missing: Sequence[str]
    """What is not there yet, or could not be read, a line each."""
    sections: Sequence[Section]

    @property
    def figures(self) -> list[Figure]:
        """Every figure, in order."""
        return [figure for section in self.sections for figure in section.figures]


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
        f"<title>{html.escape(report.title)}</title>",
        f"<style>{(_HERE / 'page.css').read_text(encoding='utf-8')}</style></head><body>",
        f"<h1>{html.escape(report.title)}</h1>",
        *(f'<p class="facts">{html.escape(fact)}</p>' for fact in report.facts),
        _box("summary", report.summary),
    ]
    if report.missing:
        parts.append(_box("missing", report.missing))
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
    lines = [f"# {report.title}", "", *(f"{fact}  " for fact in report.facts), ""]
    lines += [f"> {sentence}\n>" for sentence in report.summary]
    if report.missing:
        lines += ["", "**Missing**", "", *(f"- {line}" for line in report.missing)]
    for section in report.sections:
        lines += ["", f"## {section.title}", ""]
        lines += [f"{sentence}\n" for sentence in section.sentences]
        lines += [f"![{f.alt}](figures/{f.name}.png)\n" for f in section.figures]
        for table in section.tables:
            if table.rows:
                lines += _markdown_table(table)
    return "\n".join(lines) + "\n"


def _box(kind: str, sentences: Sequence[str]) -> str:
    inner = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in sentences)
    return f'<div class="{kind}">{inner}</div>'


def _figure(figure: Figure, svg: str) -> str:
    for index, series in enumerate(figure.series):
        for point, label in enumerate(series.labels):
            own = f'id="{point_id(figure, index, point)}"'
            svg = svg.replace(own, f'{own} data-tip="{html.escape(f"{series.name}: {label}")}"')
    svg = _with_own_ids(svg, figure.name)
    head = f'<svg role="img" aria-label="{html.escape(figure.alt)}" '
    return f"<figure>{svg.replace('<svg ', head, 1)}</figure>"


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
