"""Measurements side by side as a table: a row for each task, a column for each description."""

from __future__ import annotations

import enum
from collections.abc import Iterable

from flambeau.utils.benchmark.common import Measurement, ordered_unique, select_unit, trim_sigfig, unit_to_english

__all__ = ["Colorize", "Compare"]

_BEST, _GOOD, _BAD, _RESET = "\033[92m\033[1m", "\033[34m\033[1m", "\033[31m\033[1m", "\033[0m\033[0m"


class Colorize(enum.Enum):
    """Among which times the best ones are marked."""

    NONE = "none"
    COLUMNWISE = "columnwise"
    ROWWISE = "rowwise"


class Compare:
    """A table of measurements, those of one task together.

    >>> from flambeau.utils.benchmark import Compare, Measurement, TaskSpec
    >>> table = Compare([Measurement(1, [2e-3], TaskSpec("x + 1", "pass", label="sums"))])
    >>> "milliseconds" in str(table)
    True
    """

    def __init__(self, results: list[Measurement]):
        self._results: list[Measurement] = []
        self.extend_results(results)
        self._trim = self._warn = False
        self._colorize = Colorize.NONE

    def extend_results(self, results: Iterable[Measurement]) -> None:
        """More measurements."""
        for result in results:
            if not isinstance(result, Measurement):
                raise ValueError(f"Compare: Expected an instance of `Measurement`, got {type(result)} instead.")
            self._results.append(result)

    def trim_significant_figures(self) -> None:
        """Show only the digits that mean something."""
        self._trim = True

    def colorize(self, rowwise: bool = False) -> None:
        """Mark the best and the worst of a column, or of a row."""
        self._colorize = Colorize.ROWWISE if rowwise else Colorize.COLUMNWISE

    def highlight_warnings(self) -> None:
        """Mark times that something disturbed."""
        self._warn = True

    def print(self) -> None:
        """Print the table."""
        print(str(self))

    def __str__(self) -> str:
        merged = Measurement.merge(self._results)
        titles = ordered_unique(m.task_spec.label or m.task_spec.stmt for m in merged)
        return "\n".join(
            self._table(title, [m for m in merged if (m.task_spec.label or m.task_spec.stmt) == title])
            for title in titles
        )

    def _table(self, title: str, group: list[Measurement]) -> str:
        columns = ordered_unique(m.task_spec.description or "" for m in group)
        rows = ordered_unique((m.task_spec.num_threads, m.env, m.as_row_name) for m in group)
        cells = {((m.task_spec.num_threads, m.env, m.as_row_name), m.task_spec.description or ""): m for m in group}
        unit, scale = select_unit(min(m.median for m in group))
        texts = {at: self._text(m, scale) for at, m in cells.items()}
        names = max([len(r[2]) for r in rows]) + 6
        widths = {c: max([len(c), *(len(texts[r, c]) for r in rows if (r, c) in texts)]) for c in columns}
        header = " " * names + "".join(f"  |  {c:^{widths[c]}}" for c in columns)
        lines = [f"[{f' {title} ':-^{len(header) - 2}}]", header]
        threads = None
        for row in rows:
            if row[0] != threads:
                threads = row[0]
                lines.append(f"{threads} threads: ".ljust(len(header), "-"))
            line = "      " + row[2].ljust(names - 6)
            for c in columns:
                text = texts.get((row, c), "").rjust(widths[c])
                line += "  |  " + (self._colored(cells, row, c, rows, columns, text) if (row, c) in cells else text)
            lines.append(line)
        return "\n".join([*lines, "", f"Times are in {unit_to_english(unit)}s ({unit}).", ""])

    def _text(self, m: Measurement, scale: float) -> str:
        value = m.median / scale
        if not self._trim:
            return f"{value:.1f}"
        digits = m.significant_figures
        trimmed = trim_sigfig(value, digits)
        return f"{trimmed:.0f}" if trimmed >= 10 ** (digits - 1) else f"{trimmed:.{max(0, digits - 1)}f}"

    def _colored(
        self, cells: dict[tuple[tuple[int, str, str], str], Measurement], row: tuple[int, str, str], column: str,
        rows: list[tuple[int, str, str]], columns: list[str], text: str,
    ) -> str:  # fmt: skip
        m = cells[row, column]
        if self._warn and m.has_warnings:
            text = f"{text} (!)"
        if self._colorize is Colorize.NONE:
            return text
        line = [(row, c) for c in columns] if self._colorize is Colorize.ROWWISE else [(r, column) for r in rows]
        times = [cells[at].median for at in line if at in cells]
        best, worst = min(times), max(times)
        mark = (
            _BEST if m.median <= best * 1.1 else _GOOD if m.median <= best * 1.5 else _BAD if m.median >= worst else ""
        )
        return f"{mark}{text}{_RESET}" if mark else text
