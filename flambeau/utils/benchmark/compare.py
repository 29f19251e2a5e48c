"""Measurements side by side as a table: a row for each task, a column for each description."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from typing import Final

from flambeau.utils.benchmark.common import Measurement, ordered_unique, select_unit, trim_sigfig, unit_to_english

__all__ = ["Colorize", "Compare"]

_BEST, _GOOD, _BAD, _VERY_BAD = "\033[92m\033[1m", "\033[34m\033[1m", "\033[2m\033[91m", "\033[31m\033[1m"
_RESET: Final = "\033[0m\033[0m"
_EXPLAINED: Final = "(! XX%) Measurement has high variance, where XX is the IQR / median * 100.\n"
Row = tuple[int, str, str]  # threads, environment and name


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
        titles = ordered_unique(m.task_spec.label for m in merged)
        return "\n".join(self._table(title, [m for m in merged if m.task_spec.label == title]) for title in titles)

    def _table(self, title: str | None, group: list[Measurement]) -> str:
        unit, scale = select_unit(min(m.median for m in group))
        columns = ordered_unique(m.task_spec.description or "" for m in group)
        rows: list[Row] = sorted(ordered_unique(map(_row, group)), key=lambda row: row[:2])
        cells = {(_row(m), m.task_spec.description or ""): m for m in group}
        names = _names(rows)
        texts = {c: self._texts([cells.get((row, c)) for row in rows], scale) for c in columns}
        widths = {c: max(len(text) for text in (c, *texts[c])) for c in columns}
        left = max(map(len, names))
        header = "  |  ".join([" " * left, *(c.center(widths[c]) for c in columns)])
        lines = [f"[{f' {title or str()} '.center(len(header) - 2, '-')}]", header]
        for i, (row, name) in enumerate(zip(rows, names, strict=True)):
            if not i or row[0] != rows[i - 1][0]:
                lines.append(f"{row[0]} threads: ".ljust(len(header), "-"))
            parts = [self._colored(cells, row, c, texts[c][i].center(widths[c])) for c in columns]
            lines.append("  |  ".join([name.ljust(left), *parts]))
        ending = _EXPLAINED if self._warn and any(m.has_warnings for m in group) else ""
        return "\n".join([*lines, "", f"Times are in {unit_to_english(unit)}s ({unit}).", ending])

    def _texts(self, column: list[Measurement | None], scale: float) -> list[str]:
        """The cells of a column, all of one length and with as many decimals."""
        there = [m for m in column if m is not None]
        warned = 7 if self._warn and any(m.has_warnings for m in there) else 0
        digits = [math.ceil(math.log10(m.median / scale)) for m in there]
        decimals = 1
        if self._trim:
            decimals = min(max(m.significant_figures - d, 0) for m, d in zip(there, digits, strict=True))
        length = max(digits) + decimals + bool(decimals)

        def text(m: Measurement) -> str:
            value = m.median / scale
            value = trim_sigfig(value, m.significant_figures) if self._trim else value
            mark = f" (! {m.iqr / m.median:.0%})" if warned and m.has_warnings else ""
            return f"{value:>{length}.{decimals}f}{mark:>{warned}}"

        blank = " " * (len(f"{1:>{length}.{decimals}f}") + warned)
        return [blank if m is None else text(m) for m in column]

    def _colored(self, cells: dict[tuple[Row, str], Measurement], row: Row, column: str, text: str) -> str:
        if self._colorize is Colorize.NONE or (row, column) not in cells:
            return text
        rowwise = self._colorize is Colorize.ROWWISE
        best = min(m.median for (r, c), m in cells.items() if (r == row if rowwise else c == column and r[0] == row[0]))
        time = cells[row, column].median
        if time <= max(best * 1.01, best + 100e-9):
            mark = _BEST
        else:
            mark = _GOOD if time <= best * 1.1 else _VERY_BAD if time >= best * 5 else _BAD if time >= best * 2 else ""
        return f"{mark}{text}{_RESET}" if mark else text


def _row(m: Measurement) -> Row:
    return m.task_spec.num_threads, m.env, m.as_row_name


def _names(rows: list[Row]) -> list[str]:
    """How rows begin: with their environment if there are several, where it is another than in the row above."""
    several = len({env for _, env, _ in rows}) > 1
    room = 4 + (max(len(env) for _, env, _ in rows) if several else 0)
    new = [not i or row[:2] != rows[i - 1][:2] for i, row in enumerate(rows)]
    return [
        f"  {(f'({env})' if several and told else '').ljust(room)}{name}"
        for told, (_, env, name) in zip(new, rows, strict=True)
    ]
