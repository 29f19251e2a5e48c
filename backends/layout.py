"""Where views stand in their storage: pure functions on (shape, strides, offset), in elements.

Every function takes a layout as its first three arguments, so that ``permute(*backend.layout(x), axes)``
works, and returns plain tuples: an OpenCL backend computes each of its views here, at about a
microsecond a view. Strides may be of any sign; a stride of 0 repeats an element.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import gcd, prod

Shape = tuple[int, ...]
Triple = tuple[Shape, tuple[int, ...], int]


class LayoutError(ValueError):
    """A view that does not exist for the given shape and strides."""


class CopyNeededError(LayoutError):
    """A view whose elements do not lie so that strides could reach them; a copy would do."""


# -- shapes ------------------------------------------------------------------------------------------
@lru_cache(4096)
def contiguous_strides(shape: Shape) -> tuple[int, ...]:
    """The row-major strides of ``shape``; an empty axis counts as one of size 1, as in torch.

    >>> contiguous_strides((2, 3, 4))
    (12, 4, 1)
    """
    strides, step = [0] * len(shape), 1
    for axis in range(len(shape) - 1, -1, -1):
        strides[axis] = step
        step *= max(shape[axis], 1)
    return tuple(strides)


def is_contiguous(shape: Shape, strides: tuple[int, ...]) -> bool:
    """Whether the elements stand in row-major order without gaps; axes of size 1 do not count."""
    if strides == contiguous_strides(shape):
        return True
    step = 1
    for n, s in zip(reversed(shape), reversed(strides), strict=True):
        if n == 0:
            return True
        if n != 1:
            if s != step:
                return 0 in shape
            step *= n
    return True


@lru_cache(4096)
def dense_strides(shape: Shape, strides: tuple[int, ...]) -> tuple[int, ...]:
    """Strides without gaps that keep the order of the axes in memory: torch's ``preserve_format``.

    A dense layout keeps its strides; in another one the axes are laid out from the smallest stride
    up, and axes of stride 0 stay where they are.

    >>> dense_strides((2, 3), (1, 2)), dense_strides((2, 3), (1, 20)), dense_strides((2, 3), (0, 1))
    ((1, 2), (1, 2), (3, 1))
    """
    if is_dense(shape, strides):
        return strides
    order = list(range(len(shape) - 1, -1, -1))  # innermost first
    for i in range(1, len(order)):
        place = i
        for below in range(i - 1, -1, -1):
            outward = _stands_outside(shape, strides, order[below], order[place])
            if outward > 0:
                order[below], order[place], place = order[place], order[below], below
            elif outward < 0:
                break
    dense, step = [0] * len(shape), 1
    for axis in order:
        dense[axis] = step
        step *= max(shape[axis], 1)
    return tuple(dense)


def is_dense(shape: Shape, strides: tuple[int, ...]) -> bool:
    """Whether the elements fill a piece of memory, each once and in whatever order of the axes."""
    step = 1
    for s, n in sorted((s, n) for s, n in zip(strides, shape, strict=True) if n > 1):
        if s != step:
            return 0 in shape
        step *= n
    return True


def _stands_outside(shape: Shape, strides: tuple[int, ...], a: int, b: int) -> int:
    """1 when axis ``a`` belongs outside of ``b`` by its stride, -1 when inside, 0 when nothing tells."""
    s, t = abs(strides[a]), abs(strides[b])
    if s == 0 or t == 0:
        return 0
    if s != t:
        return 1 if s > t else -1
    return 1 if shape[a] > shape[b] else 0


@lru_cache(4096)
def broadcast_shapes(*shapes: Shape) -> Shape:
    """The shape that all ``shapes`` broadcast to; LayoutError names the two sizes that differ.

    >>> broadcast_shapes((3, 1), (4,), ())
    (3, 4)
    """
    ndim = max(map(len, shapes), default=0)
    result = [1] * ndim
    for shape in shapes:
        shift = ndim - len(shape)
        for axis, n in enumerate(shape, shift):
            if n != 1 and result[axis] != n:
                if result[axis] != 1:
                    raise LayoutError(  # in torch's words, which packages look for
                        f"shapes {' and '.join(map(str, shapes))} do not broadcast: the size of tensor a "
                        f"({result[axis]}) must match the size of tensor b ({n}) at non-singleton dimension {axis}"
                    )
                result[axis] = n
    return tuple(result)


def reduced_shape(shape: Shape, axis: int | tuple[int, ...] | None, keepdims: bool) -> Shape:
    """The shape after reducing ``axis`` (None: all axes).

    >>> reduced_shape((2, 3, 4), (0, 2), True), reduced_shape((2, 3, 4), 1, False)
    ((1, 3, 1), (2, 4))
    """
    gone = range(len(shape)) if axis is None else (axis,) if isinstance(axis, int) else axis
    if keepdims:
        return tuple(1 if i in gone else n for i, n in enumerate(shape))
    return tuple(n for i, n in enumerate(shape) if i not in gone)


def index_shape(shape: Shape, index: Sequence[int | slice | None]) -> Shape:
    """The shape of :func:`basic_index`; IndexError names the axis whose integer is out of range."""
    return basic_index(shape, (0,) * len(shape), 0, index)[0]


def expand_shape(shape: Shape, new: Shape) -> Shape:
    """``new``; LayoutError unless ``shape`` expands to it."""
    return expand(shape, (0,) * len(shape), 0, tuple(new))[0]


def diagonal_shape(shape: Shape, k: int, axis1: int, axis2: int) -> Shape:
    """The shape of :func:`diagonal`."""
    return diagonal(shape, (0,) * len(shape), 0, k, axis1, axis2)[0]


def unfold_shape(shape: Shape, axis: int, size: int, step: int) -> Shape:
    """The shape of :func:`unfold`."""
    return unfold(shape, (0,) * len(shape), 0, axis, size, step)[0]


def complex_shape(shape: Shape) -> Shape:
    """The shape of :func:`view_as_complex`, whatever the strides."""
    return view_as_complex(shape, contiguous_strides(shape), 0)[0]


# -- views -------------------------------------------------------------------------------------------
def basic_index(shape: Shape, strides: tuple[int, ...], offset: int, index: Sequence[int | slice | None]) -> Triple:
    """``x[index]`` for one int or slice per axis of ``x``, and None for each new axis.

    IndexError names the axis whose integer is out of range. A new axis gets the stride that torch's
    ``unsqueeze`` gives it. An empty result does not move: its offset might lie outside of the storage.
    """
    out_shape: list[int] = []
    out_strides: list[int] = []
    start_offset, axis = offset, 0
    for entry in index:
        if entry is None:
            out_shape.append(1)
            out_strides.append(shape[axis] * strides[axis] if axis < len(shape) else 1)
            continue
        if axis == len(shape):
            raise IndexError(f"basic_index: too many indices for an array of {len(shape)} dimension(s)")
        n, s = shape[axis], strides[axis]
        if entry.__class__ is slice:
            start, stop, step = entry.indices(n)
            length = len(range(start, stop, step))
            offset += start * s
            out_shape.append(length)
            out_strides.append(s * step)
        else:
            i: int = entry  # type: ignore[assignment]
            if not -n <= i < n:
                raise IndexError(f"basic_index: index {i} is out of range for axis {axis} of size {n}")
            offset += (i + n if i < 0 else i) * s
        axis += 1
    if axis != len(shape):
        raise IndexError(f"basic_index: {axis} indices for an array of {len(shape)} dimension(s); give one per axis")
    return tuple(out_shape), tuple(out_strides), start_offset if 0 in out_shape else offset


def permute(shape: Shape, strides: tuple[int, ...], offset: int, axes: Sequence[int]) -> Triple:
    """The axes in another order; LayoutError unless ``axes`` names each axis once."""
    if sorted(axes) != list(range(len(shape))):
        raise LayoutError(f"permute: axes {tuple(axes)} are not a permutation of the axes of shape {shape}")
    return tuple([shape[a] for a in axes]), tuple([strides[a] for a in axes]), offset


def view(shape: Shape, strides: tuple[int, ...], offset: int, new: Shape) -> Triple:
    """The same elements in order under another shape; CopyNeededError when strides cannot reach them."""
    found = view_strides(shape, strides, new)
    if found is None:
        raise CopyNeededError(
            f"view: shape {shape} with strides {strides} cannot be viewed as {new} without a copy; "
            "use reshape, or contiguous() first"
        )
    return new, found, offset


@lru_cache(4096)
def view_strides(shape: Shape, strides: tuple[int, ...], new: Shape) -> tuple[int, ...] | None:
    """The strides of ``view``, or None where it would need a copy; LayoutError when the sizes differ.

    Runs of axes that lie densely in memory count as one; each new axis must stay inside one run.

    >>> view_strides((2, 3, 4), (12, 4, 1), (6, 4)), view_strides((2, 3), (1, 2), (6,))
    ((4, 1), None)
    """
    size = prod(shape)
    if size != prod(new):
        raise LayoutError(f"view: shape {new} has {prod(new)} elements, the array of shape {shape} has {size}")
    if size == 0 or not shape:
        return strides if new == shape else contiguous_strides(new)
    out = [0] * len(new)
    at = len(new) - 1
    run, step = 1, strides[-1]  # elements of the present run, and the stride of its innermost axis
    for axis in range(len(shape) - 1, -1, -1):
        run *= shape[axis]
        ends_run = axis == 0 or (shape[axis - 1] != 1 and strides[axis - 1] != run * step)
        if not ends_run:
            continue
        filled = 1
        while at >= 0 and (filled < run or new[at] == 1):
            out[at] = filled * step
            filled *= new[at]
            at -= 1
        if filled != run:
            return None
        if axis > 0:
            run, step = 1, strides[axis - 1]
    return tuple(out) if at == -1 else None


def expand(shape: Shape, strides: tuple[int, ...], offset: int, new: Shape) -> Triple:
    """Axes of size 1, and new ones in front, repeated without a copy (stride 0)."""
    front = len(new) - len(shape)
    if front < 0:
        raise LayoutError(f"expand: shape {shape} has more dimensions than the target shape {new}")
    out = [0] * len(new)
    for axis, (n, s) in enumerate(zip(shape, strides, strict=True), front):
        if new[axis] == n:
            out[axis] = s
        elif n != 1:
            detail = f"axis {axis - front} has size {n}, not 1 or {new[axis]}"
            raise LayoutError(f"expand: shape {shape} does not expand to {new}: {detail}")
    return new, tuple(out), offset


def diagonal(shape: Shape, strides: tuple[int, ...], offset: int, k: int, axis1: int, axis2: int) -> Triple:
    """The ``k``-th diagonal of two axes, as a new last axis; both go."""
    if axis1 == axis2:
        raise LayoutError(f"diagonal: the two axes must differ, got {axis1} twice")
    n, m = shape[axis1], shape[axis2]
    length = max(min(n, m - k) if k >= 0 else min(n + k, m), 0)
    if length and 0 not in shape:
        offset += k * strides[axis2] if k >= 0 else -k * strides[axis1]
    kept = [a for a in range(len(shape)) if a not in (axis1, axis2)]
    return (
        (*[shape[a] for a in kept], length),
        (*(strides[a] for a in kept), strides[axis1] + strides[axis2]),
        offset,
    )


def unfold(shape: Shape, strides: tuple[int, ...], offset: int, axis: int, size: int, step: int) -> Triple:
    """Windows of ``size`` elements along ``axis``, one every ``step``; the window is a new last axis."""
    n, s = (shape[axis], strides[axis]) if shape else (1, 1)
    if size < 0 or size > n:
        raise LayoutError(f"unfold: size {size} does not fit axis {axis} of size {n}")
    if step <= 0:
        raise LayoutError(f"unfold: step must be positive, got {step}")
    if not shape:
        return (size,), (1,), offset
    count = (n - size) // step + 1
    return (
        (*shape[:axis], count, *shape[axis + 1 :], size),
        (*strides[:axis], s * step, *strides[axis + 1 :], s),
        offset,
    )


def view_dtype(shape: Shape, strides: tuple[int, ...], offset: int, old_size: int, new_size: int) -> Triple:
    """The same bytes as elements of ``new_size`` instead of ``old_size`` bytes; the last axis takes the difference."""
    if old_size == new_size:
        return shape, strides, offset
    if not shape:
        raise LayoutError(f"view_dtype: a 0-d array has no axis for elements of {new_size} instead of {old_size} bytes")
    if strides[-1] != 1:
        raise CopyNeededError(f"view_dtype: the last axis must have stride 1, not {strides[-1]}; contiguous() first")
    if old_size > new_size:
        ratio = old_size // new_size
        return (*shape[:-1], shape[-1] * ratio), (*(s * ratio for s in strides[:-1]), 1), offset * ratio
    ratio = new_size // old_size
    if shape[-1] % ratio:
        raise LayoutError(f"view_dtype: the last axis has {shape[-1]} elements, not a multiple of {ratio}")
    if offset % ratio or any(s % ratio for s in strides[:-1]):
        raise CopyNeededError(
            f"view_dtype: offset {offset}, strides {strides} are no multiples of {ratio}; use clone()"
        )
    return (*shape[:-1], shape[-1] // ratio), (*(s // ratio for s in strides[:-1]), 1), offset // ratio


def view_as_real(shape: Shape, strides: tuple[int, ...], offset: int) -> Triple:
    """Complex numbers as pairs of reals along a new last axis."""
    return (*shape, 2), (*(2 * s for s in strides), 1), 2 * offset


def view_as_complex(shape: Shape, strides: tuple[int, ...], offset: int) -> Triple:
    """Pairs of reals along the last axis as complex numbers."""
    if not shape or shape[-1] != 2:
        raise LayoutError(f"view_as_complex: the last axis must have size 2, got shape {shape}")
    if 0 not in shape and (strides[-1] != 1 or offset % 2 or any(s % 2 for s in strides[:-1])):
        raise CopyNeededError(
            f"view_as_complex: needs stride 1 in the last axis, an even offset and even other strides; "
            f"got strides {strides} and offset {offset}; clone() first"
        )
    return shape[:-1], tuple([s // 2 for s in strides[:-1]]), offset // 2


def flip(shape: Shape, strides: tuple[int, ...], offset: int, axes: Sequence[int]) -> Triple:
    """``axes`` backwards, by negative strides."""
    out = list(strides)
    for a in set(axes):
        offset += 0 if 0 in shape else (shape[a] - 1) * strides[a]
        out[a] = -strides[a]
    return shape, tuple(out), offset


def coalesce(shape: Shape, *strides: tuple[int, ...]) -> tuple[Shape, tuple[tuple[int, ...], ...]]:
    """Fewest axes that walk the same elements in the same order, for several arrays of one shape at once.

    >>> coalesce((2, 3, 4), (12, 4, 1), (0, 4, 1))
    ((2, 12), ((12, 1), (0, 1)))
    """
    out: list[int] = []
    steps: list[list[int]] = [[] for _ in strides]
    for axis, n in enumerate(shape):
        if n == 1:
            continue
        if out and all(kept[-1] == s[axis] * n for kept, s in zip(steps, strides, strict=True)):
            out[-1] *= n
            for kept, s in zip(steps, strides, strict=True):
                kept[-1] = s[axis]
        else:
            out.append(n)
            for kept, s in zip(steps, strides, strict=True):
                kept.append(s[axis])
    return tuple(out), tuple(tuple(kept) for kept in steps)


# -- memory ------------------------------------------------------------------------------------------
def reach(shape: Shape, strides: tuple[int, ...], offset: int) -> tuple[int, int] | None:
    """The lowest and the highest element of the storage that is touched; None for an empty array.

    >>> reach((2, 3), (-3, 1), 3)
    (0, 5)
    """
    low = high = offset
    for n, s in zip(shape, strides, strict=True):
        if n == 0:
            return None
        if s > 0:
            high += (n - 1) * s
        else:
            low += (n - 1) * s
    return low, high


def check_bounds(shape: Shape, strides: tuple[int, ...], offset: int, count: int) -> None:
    """LayoutError unless the layout stays inside a storage of ``count`` elements."""
    if len(shape) != len(strides):
        raise LayoutError(f"as_strided: shape {shape} and strides {strides} differ in length")
    if any(n < 0 for n in shape):
        raise LayoutError(f"as_strided: negative size in shape {shape}")
    span = reach(shape, strides, offset)
    if span is not None and (span[0] < 0 or span[1] >= count):
        raise LayoutError(
            f"as_strided: shape {shape}, strides {strides} and offset {offset} reach elements {span[0]} to {span[1]}, "
            f"outside of a storage of {count}"
        )


#: Steps that the exact overlap tests may take before they answer "perhaps", which counts as yes.
SEARCH_LIMIT = 20_000


def has_internal_overlap(shape: Shape, strides: tuple[int, ...]) -> bool:
    """Whether two elements share a place in memory. Exact, or True where the search would take too long.

    >>> has_internal_overlap((3, 2), (0, 1)), has_internal_overlap((2, 3), (3, 2))
    (True, False)
    """
    if strides == contiguous_strides(shape):
        return False
    axes = sorted((abs(s), n) for n, s in zip(shape, strides, strict=True) if n > 1)
    if 0 in shape or not axes:
        return False
    span = 0
    nested = True
    for s, n in axes:
        nested = nested and s > span
        span += (n - 1) * s
    if nested:
        return False
    if axes[0][0] == 0:
        return True
    # Two places i, j with equal address: their differences d, each in -(n-1)..n-1, sum to 0. The first axis
    # on which they differ can be taken to differ by d >= 1, and those after it shifted to count from 0.
    for first, (s, n) in enumerate(axes):
        rest = axes[first + 1 :]
        shift = sum(t * (m - 1) for t, m in rest)
        terms = [(s, n - 2), *((t, 2 * m - 2) for t, m in rest)]
        if _solvable(terms, shift - s):
            return True
    return False


def may_share(a: Triple, b: Triple) -> bool:
    """Whether two layouts of one storage touch a common element. Exact, or True where the search would take too long.

    >>> may_share(((4,), (2,), 0), ((4,), (2,), 1)), may_share(((4,), (2,), 0), ((4,), (3,), 3))
    (False, True)
    """
    reach_a, reach_b = reach(*a), reach(*b)
    if reach_a is None or reach_b is None or reach_a[1] < reach_b[0] or reach_b[1] < reach_a[0]:
        return False
    # low_a + Σ s·i = low_b + Σ t·j; with j counted from its end all terms are positive on one side.
    axes = [axis for shape, strides, _ in (a, b) for axis in zip(shape, strides, strict=True)]
    terms = [(abs(s), n - 1) for n, s in axes if n > 1 and s]
    return _solvable(terms, reach_b[1] - reach_a[0])


def partially_overlaps(a: Triple, b: Triple) -> bool:
    """Whether writing ``a`` element by element could disturb reading ``b``, of the same shape: they share memory,
    and not each element with its own counterpart."""
    same = a[2] == b[2] and all(s == t or n == 1 for n, s, t in zip(a[0], a[1], b[1], strict=True))
    return not same and may_share(a, b)


def _solvable(terms: Sequence[tuple[int, int]], target: int) -> bool:
    """Whether Σ step·x = target for some 0 <= x <= most, for (step, most) in ``terms``; True when out of time.

    A search from the largest step down; the reach and the common divisor of the smaller steps leave
    one value, or few, to try at each.
    """
    merged: dict[int, int] = {}
    for step, most in terms:
        if most > 0:
            merged[step] = merged.get(step, 0) + most
    ordered = sorted(merged.items(), reverse=True)
    reaches, divisors = [0] * (len(ordered) + 1), [0] * (len(ordered) + 1)
    for i in range(len(ordered) - 1, -1, -1):
        step, most = ordered[i]
        reaches[i] = reaches[i + 1] + step * most
        divisors[i] = gcd(divisors[i + 1], step)
    budget = SEARCH_LIMIT

    def search(i: int, left: int) -> bool:
        nonlocal budget
        budget -= 1
        if budget < 0 or left == 0:
            return True
        if left < 0 or left > reaches[i] or left % divisors[i]:
            return False
        step, most = ordered[i]
        low = max(-(-(left - reaches[i + 1]) // step), 0)
        return any(search(i + 1, left - step * x) for x in range(min(most, left // step), low - 1, -1))

    return search(0, target)
