"""torch's own database of ops, run on flambeau: forward, gradients, methods, in-place and out= forms, wrong calls.

``torch.testing._internal.common_methods_invocations.op_db`` comes with the torch wheel; each of its entries makes
samples for a device and a dtype. A sample runs on torch and on flambeau, and what they give is compared.

    python -m tests.ops.op_database [--few] [--part I/N] [NAME ...]

runs all samples (--few: some of each entry, as the test does), prints what differs, and how many ops agree.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

import flambeau as fb
from tests.ops.torch_counterparts import counterpart, difference, found, in_flambeau, leaves, method, named

FORWARD = (torch.float32, torch.int64, torch.bool, torch.complex64)
GRADIENT = (torch.float64, torch.complex128)
#: By kind: in what its samples are.
KINDS = ("forward", "method", "alias", "in place", "out", "gradient", "gradgrad", "error")
LARGEST = 20_000  # elements; larger samples are for speed
#: Memory that nobody wrote: shapes and dtypes count.
UNWRITTEN = frozenset({
    "empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided", "resize_", "resize_as_",
})  # fmt: skip
#: What may depend on the generator's numbers. Where torch itself gives others from another seed, as above.
RANDOM = frozenset({
    "bernoulli", "cauchy", "exponential", "geometric", "log_normal", "multinomial", "nn.functional.alpha_dropout",
    "nn.functional.dropout", "nn.functional.dropout2d", "nn.functional.dropout3d",
    "nn.functional.feature_alpha_dropout", "nn.functional.fractional_max_pool2d",
    "nn.functional.fractional_max_pool3d", "nn.functional.multi_head_attention_forward", "nn.functional.rrelu",
    "nn.functional.scaled_dot_product_attention", "normal", "pca_lowrank", "rand_like", "randint", "randint_like",
    "randn", "randn_like", "svd_lowrank", "uniform",
})  # fmt: skip


#: Where torch may name any of equal elements: places count by what stands there. name -> dim of a call.
TIES: dict[str, Callable[..., int]] = {
    "argsort": lambda x, dim=-1, *_, **__: dim, "mode": lambda x, dim=-1, *_, **__: dim,
    "sort": lambda x, dim=-1, *_, **__: dim, "topk": lambda x, k, dim=-1, *_, **__: dim,
}  # fmt: skip


#: What torch says of gradients of gradients that it has not; flambeau may.
UNSUPPORTED = ("is not implemented", "does not support automatic differentiation")


SEEDS = itertools.count(1)


@dataclass(frozen=True)
class Depth:
    """How much of each entry is run: samples of a dtype (None: all), and of its forms."""

    forward: int | None = None
    gradient: int | None = None
    forms: int | None = None  # of how many samples the methods, in-place and out= forms are run, too
    twice: bool = True  # gradients of gradients


ALL = Depth()
FEW = Depth(3, 2, 1, False)


@dataclass
class Report:
    """What of one entry was run, and what differed, by kind and dtype."""

    name: str
    op: str  # its name without the variant
    ran: set[tuple[str, str]] = field(default_factory=set)
    differs: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def note(self, kind: str, dtype: str, text: str) -> None:
        self.ran.add((kind, dtype))
        self.differs.setdefault((kind, dtype), []).append(text)

    def kinds(self) -> dict[str, list[str]]:
        """What differed by kind alone."""
        made: dict[str, list[str]] = {}
        for (kind, _), texts in self.differs.items():
            made.setdefault(kind, []).extend(texts)
        return made


@dataclass
class Case:
    """One sample of an entry, with where it belongs."""

    info: Any
    ours: Callable[..., Any]
    sample: Any
    dtype: torch.dtype
    report: Report

    def run(self, kind: str, theirs: Callable[..., Any], ours: Callable[..., Any] | None) -> None:
        """Note in what the results of two functions of the sample differ."""
        if ours is None:
            return self.note(kind, f"there is no {theirs}")
        self.report.ran.add((kind, short(self.dtype)))
        args, failed = attempt(counterpart, given(self.sample))
        if failed:
            return self.note(kind, said(failed))
        wanted, refused = attempt(theirs, *copied(given(self.sample)))
        if kind == "gradgrad" and refused is not None and any(t in str(refused) for t in UNSUPPORTED):
            return None
        got, failed = attempt(ours, *(args or ()))
        if refused is not None:
            if failed is None or not of_class(failed, refused):
                self.note(kind, f"{said(failed) if failed else 'a result'}, torch raises {said(refused)}")
        elif failed is not None:
            self.note(kind, said(failed))
        elif text := difference(wanted, got, self.determined(theirs, wanted), self.rounded()):
            self.note(kind, text)
        return None

    def rounded(self) -> torch.dtype | None:
        """float32 where the sample has operands of it beside wider ones."""
        x, args, kw = given(self.sample)
        operands = [t for t in leaves([x, list(args), list(kw.values())]) if isinstance(t, torch.Tensor)]
        wide = self.dtype in (torch.float64, torch.complex128)
        return torch.float32 if wide and any(t.dtype is torch.float32 for t in operands) else None

    def note(self, kind: str, text: str) -> None:
        self.report.note(kind, short(self.dtype), f"{short(self.dtype)} {called(self.sample)}: {text}")

    def determined(self, theirs: Callable[..., Any], wanted: Any) -> bool:
        """Whether values can be compared: torch itself gives them again from another seed."""
        if self.info.name in UNWRITTEN:
            return False
        if self.info.name not in RANDOM:
            return True
        other, found = torch.default_generator.manual_seed, True
        for _ in range(12):
            with mock.patch.object(torch, "manual_seed", lambda _: other(next(SEEDS))):  # the database sets it, too
                again, _ = attempt(theirs, *copied(given(self.sample)))
            found = found and all(torch.equal(a, b) for a, b in zip(leaves(wanted), leaves(again), strict=True)
                                  if isinstance(a, torch.Tensor))  # fmt: skip
        return found


def title(info: Any) -> str:
    return f"{info.name}.{info.variant_test_name}" if info.variant_test_name else str(info.name)


def short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def given(sample: Any) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    return sample.input, tuple(sample.args), sample.kwargs


def attempt(fn: Callable[..., Any], *args: Any, **kw: Any) -> tuple[Any, Exception | None]:
    try:
        return fn(*args, **kw), None
    except Exception as error:
        return None, error


def of_class(ours: Exception, theirs: Exception) -> bool:
    """Whether a program that catches torch's class catches ours."""
    if "failed to match any schema" in str(theirs):  # of an argument that there is not
        return isinstance(ours, TypeError)
    wanted = next((c for c in type(theirs).__mro__ if c.__module__ == "builtins"), Exception)
    return isinstance(ours, wanted)


def said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]


def called(sample: Any) -> str:
    def text(v: Any) -> str:
        if isinstance(v, torch.Tensor):
            return f"{short(v.dtype)}{list(v.shape)}"
        if isinstance(v, (tuple, list)):
            return f"[{', '.join(map(text, v))}]"
        return repr(v)[:60]

    parts = [text(v) for v in (sample.input, *sample.args)] + [f"{k}={text(v)}" for k, v in sample.kwargs.items()]
    return f"({', '.join(parts)})"


def copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
        made = [copied(v) for v in value]
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    return {k: copied(v) for k, v in value.items()} if isinstance(value, dict) else value


# -- running -----------------------------------------------------------------------------------------
def samples(info: Any, dtype: torch.dtype, count: int | None, gradient: bool = False) -> Iterator[Any]:
    """All of an entry's samples; or the first, and evenly some of the rest: late ones are the odd ones."""
    torch.manual_seed(0)
    made = info.sample_inputs("cpu", dtype, requires_grad=gradient)
    made = [s for s in (made if count is None else itertools.islice(made, 60)) if _small(s)]
    if count is None:
        return iter(made)
    steps = dict.fromkeys(round(i * (len(made) - 1) / max(count - 1, 1)) for i in range(count) if made)
    return (made[i] for i in steps)


def _small(sample: Any) -> bool:
    values = leaves([sample.input, list(sample.args), list(sample.kwargs.values())])
    return all(not isinstance(v, torch.Tensor) or v.numel() <= LARGEST for v in values)


def on_cpu(info: Any) -> bool:
    """Whether torch runs it there; ``jiterator`` compiles for CUDA alone."""
    return not info.name.startswith("jiterator_") and any(
        info.supports_dtype(d, "cpu") for d in (*FORWARD, *GRADIENT, torch.float16, torch.uint8)
    )


def differentiable(info: Any, dtype: torch.dtype) -> bool:
    return bool(
        info.supports_autograd and info.supports_dtype(dtype, "cpu") and dtype in info.supported_backward_dtypes("cpu")
    )


def run(info: Any, depth: Depth = ALL) -> Report:
    report = Report(title(info), info.name)
    if not on_cpu(info):
        return report  # it is for other devices alone
    fn, failed = attempt(found, info)
    if fn is None:
        report.note("forward", "any", failed and said(failed) or "there is no such function")
        return report
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for dtype in FORWARD:
            if info.supports_dtype(dtype, "cpu"):
                for i, sample in enumerate(samples(info, dtype, depth.forward)):
                    with_forms = depth.forms is None or i < depth.forms
                    forward(Case(info, fn, sample, dtype, report), i if with_forms else None)
        for dtype in GRADIENT:
            if differentiable(info, dtype):
                for sample in samples(info, dtype, depth.gradient, gradient=True):
                    gradient(Case(info, fn, sample, dtype, report), depth.twice)
        if info.error_inputs_func is not None:
            wrongs = info.error_inputs("cpu")
            for wrong in wrongs if depth is ALL else itertools.islice(wrongs, 12):
                mistake(Case(info, fn, wrong.sample_input, torch.float32, report))
    return report


def forward(case: Case, forms: int | None) -> None:
    """The sample's result, and with the ``forms``-th sample those of its other forms."""
    info, process = case.info, case.sample.output_process_fn_grad
    processed = in_flambeau(process)

    def then(fn: Callable[..., Any] | None, after: Callable[..., Any]) -> Callable[..., Any] | None:
        return fn and (lambda x, args, kw: untied(info.name, x, args, kw, after(fn(x, *args, **kw))))

    theirs: Any = then(info.op, process)
    case.run("forward", theirs, then(case.ours, processed))
    if forms is None:
        return
    if info.supports_out:
        for kind in ("same", "empty", "other")[: 3 if forms < 3 else 1]:
            case.run("out", then(with_out(torch, info.op, kind, process), same),  # type: ignore[arg-type]
                     then(with_out(fb, case.ours, kind, processed), same))  # fmt: skip
    for alias in info.aliases:
        case.run("alias", theirs, then(named(alias.name), processed))
    if isinstance(case.sample.input, torch.Tensor):
        variants = [("method", info.method_variant), ("method", info.operator_variant),
                    ("in place", info.inplace_variant), ("in place", info.inplace_operator_variant)]  # fmt: skip
        for kind, variant in variants:
            if variant is not None and not (kind == "in place" and case.sample.broadcasts_input):
                case.run(kind, then(variant, process), then(method(variant), processed))  # type: ignore[arg-type]


def same(result: Any) -> Any:
    return result


def untied(name: str, x: Any, args: Any, kw: Any, result: Any) -> Any:
    """Results of which places are told by what stands there, where torch names any of equal ones."""
    if name not in TIES or not x.dim() or not isinstance(leaves(result)[-1], type(x)):
        return result
    dim, places = TIES[name](x, *args, **kw), leaves(result)[-1]
    if places.dim() < x.dim():
        return [leaves(result)[0], x.gather(dim, places.unsqueeze(dim))]
    return [*leaves(result)[:-1], x.gather(dim, places)]


def with_out(T: Any, fn: Callable[..., Any], kind: str, process: Callable[..., Any]) -> Callable[..., Any]:
    """A function called with out=: tensors like its results, of no elements, or of another dtype."""

    def like(t: Any) -> Any:
        if t.layout is not T.strided:
            return t.clone()
        if kind == "empty":
            return T.empty(0, dtype=t.dtype)
        dtype = (T.complex128 if t.is_complex() else T.float64) if kind == "other" else t.dtype
        return T.full_like(t, 3, dtype=dtype)

    def call(x: Any, *args: Any, **kw: Any) -> Any:
        plain = fn(x, *args, **kw)
        out: Any = [like(t) for t in plain] if isinstance(plain, list) else None
        if out is None:
            out = tuple(like(t) for t in plain) if isinstance(plain, tuple) else like(plain)
        result = fn(x, *args, **kw, out=out)
        if result is not None:  # which some of torch's give
            one = [a is b for a, b in zip(leaves(result), leaves(out), strict=True)]
            assert all(one), "the result is not what was given as out"
        if kind == "other":  # it holds no more than a result of its own dtype would
            held = [a.to(b.dtype) for a, b in zip(leaves(out), leaves(plain), strict=True)]
            return [[t.dtype for t in leaves(out)], process(held if isinstance(plain, (tuple, list)) else held[0])]
        return process(out)

    return call


def gradient(case: Case, twice: bool) -> None:
    process = case.sample.output_process_fn_grad

    def of(T: Any, fn: Any, after: Any, again: bool) -> Callable[..., Any]:
        return lambda x, args, kw: gradients(T, fn, (x, args, kw), after, again)

    kinds = (False, True) if twice and case.info.supports_gradgrad else (False,)
    for again in kinds:
        case.run("gradgrad" if again else "gradient", of(torch, case.info.op, process, again),
                 of(fb, case.ours, in_flambeau(process), again))  # fmt: skip


def gradients(T: Any, fn: Any, sample: tuple[Any, Any, Any], process: Any, again: bool) -> list[Any]:
    """Of all tensors that want one, those of a sum of the results with fixed weights; or those of these again."""
    x, args, kw = sample
    out = leaves(process(fn(x, *args, **kw)))
    wanting = [t for t in leaves([x, list(args), list(kw.values())]) if isinstance(t, T.Tensor) and t.requires_grad]
    total = weighted(T, out)
    if total is None or not wanting:
        return []
    made = T.autograd.grad(total, wanting, allow_unused=True, create_graph=again)
    if again:
        total = weighted(T, [g for g in made if g is not None])
        if total is None:
            return [T.zeros_like(x) for x in wanting]
        made = T.autograd.grad(total, wanting, allow_unused=True)
    # None counts as zeros
    return [T.zeros_like(x) if g is None else g for g, x in zip(made, wanting, strict=True)]


def weighted(T: Any, results: list[Any]) -> Any:
    """The sum of results that want a gradient, each element with a weight of its own; None of nothing."""
    total = None
    for t in results:
        if isinstance(t, T.Tensor) and t.requires_grad:
            if t.layout is not T.strided:
                t = t.to_dense()
            weights = np.cos(np.arange(1, t.numel() + 1)).reshape(tuple(t.shape))
            if t.is_complex():
                weights = weights + 1j * np.sin(np.arange(1, t.numel() + 1)).reshape(tuple(t.shape))
            w = T.from_numpy(np.asarray(weights)).to(t.dtype)
            part = T.real((t * w).sum()) if t.is_complex() else (t * w).sum()
            total = part.double() if total is None else total + part
    return total


def mistake(case: Case) -> None:
    """A wrong call: of the class of torch's error."""
    args, failed = attempt(counterpart, given(case.sample))
    if failed:
        return
    x, theirs, kw = copied(given(case.sample))
    _, refused = attempt(case.info.op, x, *theirs, **kw)
    if refused is None:
        return
    case.report.ran.add(("error", short(case.dtype)))
    _, failed = attempt(case.ours, args[0], *args[1], **args[2])
    if failed is None:
        case.note("error", f"gives a result, torch raises {said(refused)}")
    elif not of_class(failed, refused):
        case.note("error", f"{said(failed)}, torch raises {said(refused)}")


# -- counting ----------------------------------------------------------------------------------------
def figures(reports: list[Report]) -> dict[str, str]:
    """How many ops, by their names without variants, agree in each kind and dtype, of those that were run."""
    told = {}
    pairs = sorted({pair for r in reports for pair in r.ran}, key=lambda p: KINDS.index(p[0]))
    for pair in pairs:
        ran = {r.op for r in reports if pair in r.ran}
        told[" ".join(pair)] = f"{len(ran) - len({r.op for r in reports if pair in r.differs})} of {len(ran)}"
    for label, kinds in (("forward and gradient", ("forward", "gradient")), ("everything", KINDS)):
        ran = {r.op for r in reports if r.ran}
        bad = {r.op for r in reports if any(kind in kinds for kind, _ in r.differs)}
        told[label] = f"{len(ran - bad)} of {len(ran)}"
    return told


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--few", action="store_true")
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--lines", type=int, default=6, help="of what differs in one kind and dtype of an entry")
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    reports = []
    for info in op_db[part::parts]:
        if not options.names or info.name in options.names or title(info) in options.names:
            report = run(info, FEW if options.few else ALL)
            reports.append(report)
            for (kind, _), texts in report.differs.items():
                for text in texts[: options.lines]:
                    print(f"{report.name}: {kind}: {text}", flush=True)
    for kind, text in figures(reports).items():
        print(f"{kind}: {text} ops agree")


if __name__ == "__main__":
    main()
