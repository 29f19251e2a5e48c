"""Windows that slide over the sizes of (N, C, *S): their geometry, and the loops that kernels share."""

from __future__ import annotations

from math import prod
from typing import Final, NamedTuple

from flambeau.backends.dialect.launch import each_task
from flambeau.backends.dialect.prelude import Target

Ints = tuple[int, ...]

#: Elements of a line that an item of a processor works on together.
STRIP: Final = 64


class Windows(NamedTuple):
    """Place ``l`` of a window and its element ``k`` lie at ``l * stride + k * dilation - padding`` along an axis."""

    inside: Ints  # S
    outside: Ints  # how many windows
    kernel: Ints
    stride: Ints
    padding: Ints
    dilation: Ints

    @property
    def places(self) -> int:
        return prod(self.outside)

    @property
    def reach(self) -> int:
        """The elements of a window."""
        return prod(self.kernel)

    @property
    def is_plain(self) -> bool:
        """Whether each window is one element, in order."""
        return self.outside == self.inside and self.reach == 1 and not any(self.padding)

    def numbers(self) -> Ints:
        """The values of :func:`fields`."""
        return (*self.inside, *self.outside, *self.kernel, *self.stride, *self.padding, *self.dilation)


def windows(inside: Ints, kernel: Ints, stride: Ints, padding: Ints, dilation: Ints, ceil: bool = False) -> Windows:
    """The windows that fit; with ``ceil`` a last one may stick out, if it starts inside."""
    outside = []
    for n, k, s, p, d in zip(inside, kernel, stride, padding, dilation, strict=True):
        room = n + 2 * p - d * (k - 1) - 1
        count = (room + (s - 1 if ceil else 0)) // s + 1
        outside.append(count - 1 if ceil and (count - 1) * s >= n + p else count)
    return Windows(tuple(inside), tuple(outside), tuple(kernel), tuple(stride), tuple(padding), tuple(dilation))


def fields(axes: int) -> str:
    """The struct members of :meth:`Windows.numbers`."""
    names = ("inside", "outside", "extent", "stride", "padding", "dilation")
    return "i64 " + ", ".join(f"{name}[{axes}]" for name in names) + ";"


#: Bounds of the places along an axis whose element ``l * t + f`` lies in [0, n), within [0, count].
BOUNDS: Final = """
DEVICE i64 first_in(i64 f, i64 t, i64 count) {
  i64 l = f >= 0 ? 0 : (t - 1 - f) / t;
  return l < count ? l : count;
}
DEVICE i64 last_in(i64 f, i64 t, i64 n, i64 count) {
  i64 l = f >= n ? 0 : (n - 1 - f) / t + 1;
  return l < count ? l : count;
}
"""


def window_loops(axes: int, body: str) -> str:
    """For the window at places l0, l1, ...: loops over its elements k that lie inside, at s, but for the last axis."""
    for i in reversed(range(axes - 1)):
        body = f"""for (i64 k{i} = 0; k{i} < a.extent[{i}]; k{i}++) {{
      i64 s{i} = l{i} * a.stride[{i}] + k{i} * a.dilation[{i}] - a.padding[{i}];
      if (s{i} < 0 || s{i} >= a.inside[{i}]) continue;
      {body}
    }}"""
    return body


def covering_loops(axes: int, body: str) -> str:
    """For the element at s0, s1, ...: loops over the k and places l of windows that hold it, but for the last axis."""
    for i in reversed(range(axes - 1)):
        body = f"""for (i64 k{i} = 0; k{i} < a.extent[{i}]; k{i}++) {{
      i64 u{i} = s{i} + a.padding[{i}] - k{i} * a.dilation[{i}], l{i} = u{i} / a.stride[{i}];
      if (u{i} < 0 || l{i} * a.stride[{i}] != u{i} || l{i} >= a.outside[{i}]) continue;
      {body}
    }}"""
    return body


def decode(rest: str, names: str, sizes: str, axes: range) -> str:
    """Statements that split the number ``rest`` into its digits, the last axis first."""
    return " ".join(f"i64 {names}{i} = {rest} % {sizes}[{i}]; {rest} /= {sizes}[{i}];" for i in reversed(axes))


def flat(names: str, sizes: str, axes: range) -> str:
    """The number whose digits are given: the inverse of :func:`decode`."""
    total = "0"
    for i in axes:
        total = f"{names}{i}" if total == "0" else f"({total} * {sizes}[{i}] + {names}{i})"
    return total


def product(sizes: str, n: int) -> str:
    """The number of elements of ``n`` axes."""
    return "(" + " * ".join(f"{sizes}[{i}]" for i in range(n)) + ")"


def covered(n: int, target: Target, source: str, line: str, term: str, kind: str, around: str = "$LOOPS") -> str:
    """An input's elements, each the sum over the windows that hold it, in the loop ``around``.

    ``source`` declares what the sum needs for given outer k and l; ``line`` is the line of ``kind`` elements for an
    inner k, and ``term`` the summand for an element ``v`` of it.
    """
    last = n - 1
    read = "READ(line, l)" if kind == "S" else "line[l]"
    if not target.cpu:
        inner = f"""{source}
      for (i64 k = 0; k < a.extent[{last}]; k++) {{
        i64 u = s{last} + a.padding[{last}] - k * a.dilation[{last}], l = u / a.stride[{last}];
        if (u < 0 || l * a.stride[{last}] != u || l >= a.outside[{last}]) continue;
        GLOBAL const {kind} *line = {line};
        T v = {read};
        sum += {term};
      }}"""
        return f"""  i64 total = a.images * a.channels * {product("a.inside", n)};
  {each_task(target, "total")} {{
    i64 rest = at; {decode("rest", "s", "a.inside", range(n))}
    i64 channel = rest % a.channels, image = rest / a.channels;
    T sum = 0;
    {around.replace("$LOOPS", covering_loops(n, inner))}
    WRITE(out, a.target + at, sum);
  }}"""
    inner = f"""{source}
      for (i64 k = 0; k < a.extent[{last}]; k++) {{
        i64 f = k * a.dilation[{last}] - a.padding[{last}] - left, t = a.stride[{last}];
        i64 low = first_in(f, t, a.outside[{last}]), high = last_in(f, t, w, a.outside[{last}]);
        GLOBAL const {kind} *line = {line};
        if (t == 1) {{
          INDEPENDENT
          for (i64 l = low; l < high; l++) {{ T v = {read}; sums[l + f] += {term}; }}
        }} else {{
          INDEPENDENT
          for (i64 l = low; l < high; l++) {{ T v = {read}; sums[l * t + f] += {term}; }}
        }}
      }}"""
    return f"""  i64 total = a.images * a.channels{"".join(f" * a.inside[{i}]" for i in range(last))};
  {each_task(target, "total")} {{
    i64 rest = at; {decode("rest", "s", "a.inside", range(last))}
    i64 channel = rest % a.channels, image = rest / a.channels;
    for (i64 left = 0; left < a.inside[{last}]; left += {STRIP}) {{
    i64 w = a.inside[{last}] - left < {STRIP} ? a.inside[{last}] - left : {STRIP};
    T sums[{STRIP}];
    for (i64 j = 0; j < w; j++) sums[j] = 0;
    {around.replace("$LOOPS", covering_loops(n, inner))}
    for (i64 j = 0; j < w; j++) WRITE(out, a.target + at * a.inside[{last}] + left + j, sums[j]);
    }}
  }}"""
