"""Sums along a row: by one item in lanes that a compiler vectorises, or by the items of a group."""

from __future__ import annotations

from typing import Final

from flambeau.backends.dialect.prelude import Target

#: Partial sums that an item of a processor keeps.
LANES: Final = 16


def row_sums(
    target: Target, terms: dict[str, str], n: str, before: str, segments: tuple[str, str] | None = None
) -> str:
    """Statements that declare, for each name, the sum over i < ``n`` of its term, which ``before`` makes ready.

    ``segments`` is (how many, statements that a segment begins with): the row is that many pieces of ``n``
    elements, numbered by ``segment``.
    """
    lines = _by_lanes(terms, n, before, segments) if target.cpu else _by_group(terms, n, before, segments)
    return "\n    ".join(lines)


def _by_group(terms: dict[str, str], n: str, before: str, segments: tuple[str, str] | None) -> list[str]:
    steps = " ".join(f"{name} += {term};" for name, term in terms.items())
    if segments is None:
        loop = f"for (i64 i = LID; i < {n}; i += LSIZE) {{ {before} {steps} }}"
    else:
        count, begin = segments
        loop = f"""for (i64 each = LID; each < {count} * {n}; each += LSIZE) {{
      i64 segment = each / {n}, i = each % {n};
      {begin} {before} {steps}
    }}"""
    return [
        "T " + ", ".join(f"{name} = 0" for name in terms) + ";",
        loop,
        *(_group_sum(name) for name in terms),
    ]


def _by_lanes(terms: dict[str, str], n: str, before: str, segments: tuple[str, str] | None) -> list[str]:
    steps = " ".join(f"{name}_l[j] += {term};" for name, term in terms.items())
    tails = " ".join(f"{name} += {term};" for name, term in terms.items())
    whole = f"{n} / {LANES} * {LANES}"
    loops = f"""for (i64 top = 0; top < {whole}; top += {LANES}) {{
      INDEPENDENT
      for (int j = 0; j < {LANES}; j++) {{ i64 i = top + j; {before} {steps} }}
    }}
    for (i64 i = {whole}; i < {n}; i++) {{ {before} {tails} }}"""
    if segments is not None:
        count, begin = segments
        loops = f"for (i64 segment = 0; segment < {count}; segment++) {{\n    {begin}\n    {loops}\n    }}"
    return [
        "T " + ", ".join(f"{name} = 0, {name}_l[{LANES}]" for name in terms) + ";",
        f"for (int j = 0; j < {LANES}; j++) {{ {' '.join(f'{name}_l[j] = 0;' for name in terms)} }}",
        loops,
        f"for (int j = 0; j < {LANES}; j++) {{ {' '.join(f'{name} += {name}_l[j];' for name in terms)} }}",
    ]


def along_row(target: Target, n: str, body: str, segments: tuple[str, str] | None = None) -> str:
    """Loops of an item, or of a group's items, that do ``body`` for each i < ``n`` of each segment."""
    if target.cpu:
        loop = f"INDEPENDENT\n    for (i64 i = 0; i < {n}; i++) {{ {body} }}"
        if segments is None:
            return loop
        return f"for (i64 segment = 0; segment < {segments[0]}; segment++) {{\n    {segments[1]}\n    {loop}\n    }}"
    if segments is None:
        return f"for (i64 i = LID; i < {n}; i += LSIZE) {{ {body} }}"
    return f"""for (i64 each = LID; each < {segments[0]} * {n}; each += LSIZE) {{
      i64 segment = each / {n}, i = each % {n};
      {segments[1]} {body}
    }}"""


def _group_sum(name: str) -> str:
    """The sum of a variable over a group, for all its items.

    Text and no function: PoCL 3.1 gives wrong sums where one with barriers is called twice.
    """
    return f"""lanes[LID] = {name};
    BARRIER;
    for (int w = LSIZE >> 1; w > 0; w >>= 1) {{
      if (LID < w) lanes[LID] += lanes[LID + w];
      BARRIER;
    }}
    {name} = lanes[0];
    BARRIER;"""


def lanes(target: Target) -> str:
    """What a kernel with such sums declares."""
    return "" if target.cpu else "LOCAL T lanes[256];"


def only_one(target: Target, statement: str) -> str:
    """A statement for one item of a group."""
    return statement if target.cpu else f"if (LID == 0) {{ {statement} }}"
