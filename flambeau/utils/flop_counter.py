"""Counting what products and convolutions compute: two operations for each multiplication that is added up."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from flambeau.core.keys import Key
from flambeau.core.record import Op
from flambeau.core.state import watch
from flambeau.nn.module import Module
from flambeau.utils.flop_formulas import (
    addmm_flop,
    baddbmm_flop,
    bmm_flop,
    conv_backward_flop,
    conv_flop,
    conv_flop_count,
    mm_flop,
    sdpa_backward_flop,
    sdpa_backward_flop_count,
    sdpa_flop,
    sdpa_flop_count,
    shape_wrapper,
)  # fmt: skip
from flambeau.utils.module_tracker import ModuleTracker

__all__ = [
    "FlopCounterMode", "addmm_flop", "baddbmm_flop", "bmm_flop", "conv_backward_flop", "conv_flop", "conv_flop_count",
    "mm_flop", "register_flop_formula", "sdpa_backward_flop", "sdpa_backward_flop_count", "sdpa_flop",
    "sdpa_flop_count", "shape_wrapper",
]  # fmt: skip

Shape = tuple[int, ...]
Formula = Callable[..., int]


def _matmul(a: Shape, b: Shape, *, out: Shape, **_: Any) -> int:
    return 2 * math.prod(out) * a[-1]


def _added(x: Shape, a: Shape, b: Shape, *_: Shape, out: Shape, **__: Any) -> int:
    """A product that is added to x; of batches whose products are summed, all of them."""
    return 2 * math.prod(out) * a[-1] * math.prod(a[: len(b) - len(out)])


def _linear(x: Shape, weight: Shape, *_: Shape, out: Shape, **__: Any) -> int:
    return 2 * math.prod(out) * x[-1]


def _conv(x: Shape, weight: Shape, *_: Shape, out: Shape, **__: Any) -> int:
    """Every element of the result sums over the inputs of its group and the window."""
    return 2 * math.prod(out) * math.prod(weight[1:])


def _conv_grad_input(g: Shape, weight: Shape, *_: Shape, **__: Any) -> int:
    return 2 * math.prod(g) * math.prod(weight[1:])


def _conv_grad_weight(g: Shape, x: Shape, *_: Shape, out: Shape, **__: Any) -> int:
    return 2 * math.prod(g) * math.prod(out[1:])


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    """The scores, and what they choose."""
    return 2 * math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _attention_grad(g: Shape, _: Shape, query: Shape, key: Shape, value: Shape, *__: Any, **___: Any) -> int:
    """The scores once more, theirs and the values', the queries' and the keys'."""
    return 2 * math.prod(query[:-1]) * key[-2] * (3 * query[-1] + 2 * value[-1])


#: By op: from the operands' shapes, ``out`` and the op's params to the operations.
flop_registry: Final[dict[str, Formula]] = {
    "matmul": _matmul,
    **dict.fromkeys(("addmm", "addmv", "addbmm", "baddbmm"), _added),
    "linear": _linear,
    "conv": _conv,
    "conv_grad_input": _conv_grad_input,
    "conv_grad_weight": _conv_grad_weight,
    "attention": _attention,
    "attention_grad": _attention_grad,
}


def name_of(target: Any) -> str:
    """The name of an op, given as its function, its record or by name."""
    found = target if isinstance(target, str) else getattr(getattr(target, "op", target), "name", None)
    name: str = found() if callable(found) else found or target.__name__
    return name.rpartition("::")[2].partition(".")[0]


def register_flop_formula(targets: Any, get_raw: bool = False) -> Callable[[Formula], Formula]:
    """A decorator: the formula for ops, ``formula(*shapes, out_shape=..., **params)``; with ``get_raw`` of arrays.

    >>> @fb.utils.flop_counter.register_flop_formula("exp")
    ... def exp_flops(x, *, out_shape, **kwargs):
    ...     return x[0]
    >>> with fb.utils.flop_counter.FlopCounterMode(display=False) as counter:
    ...     _ = fb.ones(3).exp()
    >>> counter.get_total_flops()
    3
    >>> _ = fb.utils.flop_counter.flop_registry.pop("exp")
    """

    def register(formula: Formula) -> Formula:
        for target in targets if isinstance(targets, Iterable) and not isinstance(targets, str) else (targets,):
            flop_registry[name_of(target)] = _adapted(formula, get_raw)
        return formula

    return register


def _adapted(formula: Formula, raw: bool) -> Formula:
    def call(*shapes: Any, out: Any, arrays: Any = (), result: Any = None, **params: Any) -> int:
        return formula(*arrays, out_val=result, **params) if raw else formula(*shapes, out_shape=out, **params)

    call.wants_arrays = raw  # type: ignore[attr-defined]
    return call


class FlopCounterMode:
    """Counts the operations of products and convolutions inside the block, by module and op, backward included.

    Args:
        mods: accepted for PyTorch's sake; modules are found when they run.
        depth: of the modules in the table.
        display: print the table at the end.
        custom_mapping: formulas for more ops, or others, by function or name: ``formula(*shapes, out_shape=...)``.

    >>> with FlopCounterMode(display=False) as counter:
    ...     _ = fb.nn.Linear(4, 5)(fb.ones(3, 4))
    >>> counter.get_total_flops()
    120
    """

    def __init__(
        self, mods: Module | list[Module] | None = None, depth: int = 2, display: bool = True,
        custom_mapping: dict[Any, Any] | None = None,
    ):  # fmt: skip
        self.depth, self.display = depth, display
        self.flop_counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self.mod_tracker = ModuleTracker()
        self._formulas = dict(flop_registry)
        for target, formula in (custom_mapping or {}).items():
            self._formulas[name_of(target)] = _adapted(formula, bool(getattr(formula, "_get_raw", False)))
        self._watch = watch(self._see)

    def __enter__(self) -> Self:
        self.flop_counts.clear()
        self._formulas = flop_registry | self._formulas
        self.mod_tracker.__enter__()
        self._watch.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.__exit__(kind, error, trace)
        self.mod_tracker.__exit__(kind, error, trace)
        if self.display and error is None:
            print(self.get_table(self.depth))

    def _see(self, op: Op, key: Key, arrays: Any, params: dict[str, Any], kernel: Callable[..., Any]) -> Any:
        result = kernel(*arrays, **params)
        if op.name in self._formulas:
            count = operations(self._formulas, op, arrays, params, result)
            for name in set(self.mod_tracker.parents):
                self.flop_counts[name][op.name] += count
        return result

    def get_total_flops(self) -> int:
        """All operations."""
        return sum(self.flop_counts["Global"].values()) if "Global" in self.flop_counts else 0

    def get_flop_counts(self) -> dict[str, dict[str, int]]:
        """Operations by module ("Global": all) and op."""
        return {name: {op: n for op, n in ops.items() if n} for name, ops in self.flop_counts.items()}

    def get_table(self, depth: int | None = None) -> str:
        """The counts as text, modules to a depth, the ops below them."""
        limit = 999999 if depth is None else depth
        total = self.get_total_flops() or 1
        rows = [("Module", "FLOP", "% Total")]
        for name in sorted(self.flop_counts, key=lambda n: (n != "Global", n)):
            level = 0 if name == "Global" else name.count(".") + 1
            if level > limit:
                continue
            ops = {op: n for op, n in self.flop_counts[name].items() if n}
            count = sum(ops.values())
            rows.append((" " * level + name, f"{count:,}", f"{count / total:.2%}"))
            rows += [(" " * level + f" - {op}", f"{n:,}", f"{n / total:.2%}") for op, n in ops.items()]
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        lines = [f"{a:{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows]
        return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def operations(
    formulas: Mapping[str, Formula], op: Op, arrays: Any, params: Mapping[str, Any], result: Any
) -> int:  # Any: what a kernel takes and gives
    """How many operations a kernel's call was by the formula of its op; 0 where there is none."""
    formula = formulas.get(op.name)
    if formula is None:
        return 0
    named = {n: v for n, v in params.items() if n != "out"}  # of an op in place
    shapes = [tuple(a.shape) for a in arrays if hasattr(a, "shape")]
    more = {"arrays": arrays, "result": result} if getattr(formula, "wants_arrays", False) else {}
    return formula(*shapes, out=_shapes(result), **more, **named)


def _shapes(result: Any) -> Any:
    return tuple(map(_shapes, result)) if isinstance(result, tuple) else tuple(result.shape)
