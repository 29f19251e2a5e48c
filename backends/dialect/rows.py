"""Sums along a row: by one item in lanes that a compiler vectorises, or by the items of a group.

A lane, or an item, adds :data:`RUN` numbers at a time and then their sum to what it has, so that the error does not
grow with the length of the row.
"""

from __future__ import annotations

from typing import Final

from flambeau.backends.dialect.prelude import Target

#: Partial sums that an item of a processor keeps.
LANES: Final = 16
#: Numbers that are added one after the other, at least.
RUN: Final = 64


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
    steps = " ".join(f"{name}_r += {term};" for name, term in terms.items())
    total = n if segments is None else f"{segments[0]} * {n}"
    if segments is None:
        body = f"i64 i = each; {before} {steps}"
    else:
        body = f"i64 segment = each / {n}, i = each % {n};\n      {segments[1]} {before} {steps}"
    loop = f"""for (i64 first = LID; first < {total}; first += {RUN} * LSIZE) {{
      T {", ".join(f"{name}_r = 0" for name in terms)};
      i64 stop = first + {RUN} * LSIZE < {total} ? first + {RUN} * LSIZE : {total};
      for (i64 each = first; each < stop; each += LSIZE) {{ {body} }}
      {" ".join(f"{name} += {name}_r;" for name in terms)}
    }}"""
    return [
        "T " + ", ".join(f"{name} = 0" for name in terms) + ";",
        loop,
        *(_group_sum(name) for name in terms),
    ]


def _by_lanes(terms: dict[str, str], n: str, before: str, segments: tuple[str, str] | None) -> list[str]:
    steps = " ".join(f"{name}_l[j] += {term};" for name, term in terms.items())
    each_lane, run = f"for (int j = 0; j < {LANES}; j++)", RUN * LANES
    fold = " ".join(f"{name}_s[j] += {name}_l[j]; {name}_l[j] = 0;" for name in terms)
    whole = f"{n} / {LANES} * {LANES}"
    loops = f"""for (i64 first = 0; first < {n}; first += {run}) {{
      i64 last = first + {run} < {whole} ? first + {run} : {whole};
      for (i64 top = first; top < last; top += {LANES}) {{
        INDEPENDENT
        {each_lane} {{ i64 i = top + j; {before} {steps} }}
      }}
      if (first + {run} >= {n})
        for (i64 i = {whole}; i < {n}; i++) {{ int j = (int)(i - {whole}); {before} {steps} }}
      run += last - first + {LANES};
      if (run >= {run}) {{ {each_lane} {{ {fold} }} run = 0; }}
    }}"""
    if segments is not None:
        count, begin = segments
        loops = f"for (i64 segment = 0; segment < {count}; segment++) {{\n    {begin}\n    {loops}\n    }}"
    names = ", ".join(f"{name} = 0, {name}_l[{LANES}], {name}_s[{LANES}]" for name in terms)
    return [
        f"T {names};",
        f"{each_lane} {{ {' '.join(f'{name}_l[j] = 0; {name}_s[j] = 0;' for name in terms)} }}",
        f"{{ i64 run = 0;\n    {loops} }}",
        f"{each_lane} {{ {' '.join(f'{name} += {name}_s[j] + {name}_l[j];' for name in terms)} }}",
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
