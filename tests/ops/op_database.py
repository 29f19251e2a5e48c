"""torch's own database of ops, run on flambeau: forward, gradient, methods, in-place forms and wrong calls.

``torch.testing._internal.common_methods_invocations.op_db`` comes with the torch wheel; each of its entries makes
samples for a device and a dtype. A sample runs on torch and on flambeau, and what is compared is an :class:`Outcome`.
``python -m tests.ops.op_database [NAME ...]`` prints what differs, and how many ops agree.
"""

from __future__ import annotations

import functools
import itertools
import operator
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.testing._internal.common_methods_invocations import op_db

import flambeau as fb
import flambeau.nn.functional

FORWARD = (torch.float32, torch.int64, torch.bool, torch.complex64)
SAMPLES = 3  # of each dtype
GRADIENTS = 2
LARGEST = 20_000  # elements; larger samples are for speed
#: (relative, absolute)
TOLERANCES = {torch.float32: (2e-4, 2e-4), torch.complex64: (2e-4, 2e-4), torch.float64: (1e-5, 1e-6),
              torch.complex128: (1e-5, 1e-6), torch.float16: (2e-3, 2e-3), torch.bfloat16: (2e-2, 2e-2)}  # fmt: skip
#: What depends on the generator's numbers or on memory that nobody wrote: shapes and dtypes count.
UNDETERMINED = frozenset({
    "bernoulli", "cauchy", "empty", "empty_like", "empty_permuted", "empty_strided", "exponential", "geometric",
    "log_normal", "multinomial", "native_dropout_backward", "new_empty", "new_empty_strided",
    "nn.functional.alpha_dropout", "nn.functional.dropout", "nn.functional.dropout2d", "nn.functional.dropout3d",
    "nn.functional.feature_alpha_dropout", "nn.functional.fractional_max_pool2d",
    "nn.functional.fractional_max_pool3d", "nn.functional.multi_head_attention_forward", "nn.functional.rrelu",
    "nn.functional.scaled_dot_product_attention", "normal", "pca_lowrank", "rand_like", "randint", "randint_like",
    "randn", "randn_like", "resize_", "resize_as_", "svd_lowrank", "uniform",
})  # fmt: skip


@dataclass
class Report:
    """What of one entry was run, and what differed."""

    name: str
    op: str  # its name without the variant
    forward: int = 0
    gradient: int = 0
    differs: dict[str, list[str]] = field(default_factory=dict)

    def note(self, kind: str, text: str) -> None:
        self.differs.setdefault(kind, []).append(text)


def title(info: Any) -> str:
    return f"{info.name}.{info.variant_test_name}" if info.variant_test_name else str(info.name)


# -- what stands for what ----------------------------------------------------------------------------
def counterpart(value: Any) -> Any:
    """What flambeau is given where torch is given ``value``."""
    if isinstance(value, torch.Tensor):
        return tensor(value)
    if isinstance(value, torch.dtype):
        return getattr(fb, str(value).removeprefix("torch."))
    if isinstance(value, torch.device):
        return fb.device(str(value))
    if isinstance(value, (torch.memory_format, torch.layout)):
        return getattr(fb, str(value).removeprefix("torch."), value)
    if isinstance(value, torch.Size):
        return fb.Size(value)
    if isinstance(value, torch.Generator):
        return fb.Generator()
    if isinstance(value, (tuple, list)):
        made = [counterpart(v) for v in value]
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    if isinstance(value, dict):
        return {k: counterpart(v) for k, v in value.items()}
    if isinstance(value, types.FunctionType):
        return in_flambeau(value)
    if isinstance(value, torch.nn.Module):
        return getattr(fb.nn, type(value).__name__)()
    return value


def tensor(t: torch.Tensor) -> fb.Tensor:
    plain = (
        t.detach().clone().resolve_conj().resolve_neg()
        if t._is_zerotensor()
        else t.detach().resolve_conj().resolve_neg()
    )
    if plain.layout is not torch.strided:
        raise NotImplementedError("a sparse sample")
    if plain.dtype is torch.bfloat16:
        made = fb.from_numpy(plain.float().numpy().copy("K")).to(fb.bfloat16)
    else:
        made = fb.from_numpy(plain.numpy().copy("K"))
    return made.requires_grad_() if t.requires_grad else made


def in_flambeau(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function of torch's tests in which ``torch`` means flambeau."""
    if not isinstance(fn, types.FunctionType) or not fn.__module__.startswith("torch.testing"):
        return fn
    names = {**fn.__globals__, "torch": fb}
    cells = fn.__closure__ and tuple(types.CellType(in_flambeau(c.cell_contents)) for c in fn.__closure__)
    made = types.FunctionType(fn.__code__, names, fn.__name__, fn.__defaults__, cells)
    made.__kwdefaults__ = fn.__kwdefaults__
    return made


def found(info: Any) -> Callable[..., Any] | None:
    """flambeau's function of an entry: by its name, else the entry's own function with flambeau for torch."""
    if isinstance(info.op, types.FunctionType) and info.op.__module__.startswith("torch.testing"):
        return in_flambeau(info.op)
    for owner in (fb, fb.Tensor):
        for name in (info.name, f"__{info.name}__"):
            try:
                fn = operator.attrgetter(name)(owner)
            except AttributeError:
                continue
            if callable(fn):
                return fn
    return None


def method(theirs: Any) -> Any:
    """The method that stands for one of torch's, or for a part of one, or None."""
    if isinstance(theirs, functools.partial):
        ours = functional(theirs.func)
        return ours and functools.partial(ours, *theirs.args, **theirs.keywords)
    if isinstance(theirs, types.FunctionType) and theirs.__module__.startswith("torch.testing"):
        return in_flambeau(theirs)
    return getattr(fb.Tensor, theirs.__name__, None)


def functional(theirs: Any) -> Any:
    """The function of the same module and name."""
    owner = getattr(theirs, "__module__", "").replace("torch", "flambeau", 1)
    return getattr(sys.modules.get(owner, fb), theirs.__name__, None)


# -- comparing ---------------------------------------------------------------------------------------
def leaves(value: Any) -> list[Any]:
    if isinstance(value, (tuple, list)) and not isinstance(value, (torch.Size, fb.Size)):
        return [leaf for v in value for leaf in leaves(v)]
    return [value]


def array(t: Any) -> np.ndarray[Any, Any]:
    if isinstance(t, torch.Tensor):
        t = t.detach().resolve_conj().resolve_neg()
        return (t.float() if t.dtype is torch.bfloat16 else t).numpy(force=True)
    t = t.detach()
    return np.asarray((t.float() if t.dtype is fb.bfloat16 else t).numpy())


def difference(wanted: Any, got: Any, values: bool = True) -> str:
    """What differs, or ""."""
    ours, theirs = leaves(got), leaves(wanted)
    if len(ours) != len(theirs):
        return f"{len(ours)} results, torch has {len(theirs)}"
    for w, g in zip(theirs, ours, strict=True):
        if text := _difference(w, g, values):
            return text
    return ""


def _difference(w: Any, g: Any, values: bool) -> str:
    if not isinstance(w, torch.Tensor):
        if isinstance(w, (torch.dtype, torch.Size)) or isinstance(g, fb.Tensor):
            return "" if counterpart(w) == g and not isinstance(g, fb.Tensor) else f"{g!r}, torch {w!r}"
        return "" if w == g or w != w or not values else f"{g!r}, torch {w!r}"
    if not isinstance(g, fb.Tensor):
        return f"{type(g).__name__}, torch a tensor"
    if tuple(g.shape) != tuple(w.shape):
        return f"shape {tuple(g.shape)}, torch {tuple(w.shape)}"
    if str(g.dtype).split(".")[-1] != str(w.dtype).split(".")[-1]:
        return f"dtype {g.dtype}, torch {w.dtype}"
    if not values:
        return ""
    a, b = array(w), array(g)
    rtol, atol = TOLERANCES.get(w.dtype, (0, 0))
    largest = np.abs(a[np.isfinite(a)]).max(initial=0) if a.dtype.kind in "fc" else 0
    atol = max(atol, rtol / 100 * float(largest))
    if not np.allclose(b, a, rtol, atol, equal_nan=True):
        off = np.abs(b.astype(complex) - a.astype(complex))
        return f"values off by {np.nanmax(off):.3g} (of {np.nanmax(np.abs(a.astype(complex))):.3g})"
    return ""


def attempt(fn: Callable[..., Any], *args: Any, **kw: Any) -> tuple[Any, Exception | None]:
    try:
        return fn(*args, **kw), None
    except Exception as error:
        return None, error


def of_class(ours: Exception, theirs: Exception) -> bool:
    """Whether a program that catches torch's class catches ours."""
    wanted = next((c for c in type(theirs).__mro__ if c.__module__ == "builtins"), Exception)
    return isinstance(ours, wanted)


def said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]


def called(sample: Any, dtype: torch.dtype) -> str:
    def short(v: Any) -> str:
        if isinstance(v, torch.Tensor):
            return f"{str(v.dtype)[6:]}{list(v.shape)}"
        if isinstance(v, (tuple, list)):
            return f"[{', '.join(map(short, v))}]"
        return repr(v)[:60]

    parts = [short(v) for v in (sample.input, *sample.args)] + [f"{k}={short(v)}" for k, v in sample.kwargs.items()]
    return f"({', '.join(parts)})"


# -- running -----------------------------------------------------------------------------------------
def samples(info: Any, dtype: torch.dtype, gradient: bool = False) -> Iterator[Any]:
    """The first of an entry's samples, and evenly some of the rest: late ones are the odd ones."""
    torch.manual_seed(0)
    made = [s for s in itertools.islice(info.sample_inputs("cpu", dtype, requires_grad=gradient), 60) if _small(s)]
    count = GRADIENTS if gradient else SAMPLES
    steps = dict.fromkeys(round(i * (len(made) - 1) / max(count - 1, 1)) for i in range(count) if made)
    return (made[i] for i in steps)


def _small(sample: Any) -> bool:
    given = leaves([sample.input, list(sample.args), list(sample.kwargs.values())])
    return all(not isinstance(v, torch.Tensor) or v.numel() <= LARGEST for v in given)


def run(info: Any) -> Report:
    report = Report(title(info), info.name)
    if not any(info.supports_dtype(dtype, "cpu") for dtype in (*FORWARD, torch.float64, torch.float16)):
        return report  # it is for other devices alone
    fn = found(info)
    if fn is None:
        report.note("forward", "there is no such function")
        return report
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for dtype in FORWARD:
            if info.supports_dtype(dtype, "cpu"):
                for i, sample in enumerate(samples(info, dtype)):
                    forward(info, fn, sample, dtype, report, forms=i == 0)
        for dtype in (torch.float64, torch.complex128):
            if info.supports_autograd and info.supports_dtype(dtype, "cpu") and gradients_for(info, dtype):
                for sample in samples(info, dtype, gradient=True):
                    gradient(info, fn, sample, dtype, report)
        if info.error_inputs_func is not None:
            for wrong in itertools.islice(info.error_inputs("cpu"), 12):
                mistake(info, fn, wrong.sample_input, report)
    return report


def gradients_for(info: Any, dtype: torch.dtype) -> bool:
    return dtype in {torch.float32: (torch.float64,)}.get(dtype, info.supported_backward_dtypes("cpu"))


def copied(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone().requires_grad_(value.requires_grad)
    if isinstance(value, (tuple, list)) and not isinstance(value, torch.Size):
        made = [copied(v) for v in value]
        return type(value)(*made) if hasattr(value, "_fields") else type(value)(made)
    return {k: copied(v) for k, v in value.items()} if isinstance(value, dict) else value


def forward(info: Any, fn: Any, sample: Any, dtype: torch.dtype, report: Report, forms: bool) -> None:
    report.forward += 1
    where = f"{str(dtype)[6:]} {called(sample, dtype)}"
    ways = [("forward", info.op, fn)]
    if forms and info.method_variant is not None and isinstance(sample.input, torch.Tensor):
        ways.append(("method", info.method_variant, method(info.method_variant)))
    if forms and info.inplace_variant is not None and isinstance(sample.input, torch.Tensor):
        ways.append(("in place", info.inplace_variant, method(info.inplace_variant)))
    for kind, theirs, ours in ways:
        if ours is None:
            report.note(kind, f"there is no {theirs}")
            continue
        args, failed = attempt(counterpart, (sample.input, tuple(sample.args), sample.kwargs))
        if failed:
            report.note(kind, f"{where}: {said(failed)}")
            continue
        theirs_args = copied((sample.input, tuple(sample.args), sample.kwargs))
        wanted, refused = attempt(theirs, theirs_args[0], *theirs_args[1], **theirs_args[2])
        got, failed = attempt(ours, args[0], *args[1], **args[2])
        if refused is not None:
            if failed is None or not of_class(failed, refused):
                report.note(kind, f"{where}: {failed and said(failed)}, torch raises {said(refused)}")
            continue
        if failed is None:
            text = ""
            got, failed = attempt(in_flambeau(sample.output_process_fn_grad), got)
        if failed is None:
            text = difference(sample.output_process_fn_grad(wanted), got, info.name not in UNDETERMINED)
        if failed is not None or text:
            report.note(kind, f"{where}: {said(failed) if failed else text}")


def gradient(info: Any, fn: Any, sample: Any, dtype: torch.dtype, report: Report) -> None:
    report.gradient += 1
    where = f"{str(dtype)[6:]} {called(sample, dtype)}"
    args, failed = attempt(counterpart, (sample.input, tuple(sample.args), sample.kwargs))
    if failed:
        return report.note("gradient", f"{where}: {said(failed)}")
    theirs = copied((sample.input, tuple(sample.args), sample.kwargs))
    process = sample.output_process_fn_grad
    wanted, refused = attempt(_gradients, torch, info.op, theirs, process)
    got, failed = attempt(_gradients, fb, fn, args, in_flambeau(process))
    if refused is not None:
        if failed is None or not of_class(failed, refused):
            report.note("gradient", f"{where}: {failed and said(failed)}, torch raises {said(refused)}")
    elif failed is not None:
        report.note("gradient", f"{where}: {said(failed)}")
    elif text := difference(wanted, got, info.name not in UNDETERMINED):
        report.note("gradient", f"{where}: {text}")
    return None


def _gradients(T: Any, fn: Any, sample: tuple[Any, Any, Any], process: Any) -> list[Any]:
    """Of all tensors that want one, those of a sum of the results with fixed weights."""
    given, args, kw = sample
    out = leaves(process(fn(given, *args, **kw)))
    wanting = [t for t in leaves([given, list(args), list(kw.values())]) if isinstance(t, T.Tensor) and t.requires_grad]
    total = None
    for t in out:
        if isinstance(t, T.Tensor) and t.requires_grad:
            weights = np.cos(np.arange(1, t.numel() + 1)).reshape(tuple(t.shape))
            if t.is_complex():
                weights = weights + 1j * np.sin(np.arange(1, t.numel() + 1)).reshape(tuple(t.shape))
            w = T.from_numpy(np.asarray(weights)).to(t.dtype)
            part = T.real((t * w).sum()) if t.is_complex() else (t * w).sum()
            total = part.double() if total is None else total + part
    if total is None or not wanting:
        return []
    made = T.autograd.grad(total, wanting, allow_unused=True)
    # None counts as zeros
    return [T.zeros_like(x) if g is None else g for g, x in zip(made, wanting, strict=True)]


def mistake(info: Any, fn: Any, sample: Any, report: Report) -> None:
    where = called(sample, torch.float32)
    args, failed = attempt(counterpart, (sample.input, tuple(sample.args), sample.kwargs))
    if failed:
        return
    theirs = copied((sample.input, tuple(sample.args), sample.kwargs))
    _, refused = attempt(info.op, theirs[0], *theirs[1], **theirs[2])
    if refused is None:
        return
    _, failed = attempt(fn, args[0], *args[1], **args[2])
    if failed is None:
        report.note("error", f"{where}: gives a result, torch raises {said(refused)}")
    elif not of_class(failed, refused):
        report.note("error", f"{where}: {said(failed)}, torch raises {said(refused)}")


def figures(reports: list[Report]) -> dict[str, str]:
    """How many ops, by their names without variants, agree in each respect, of those that were run."""
    told = {}
    for kind in ("forward", "gradient", "method", "in place", "error"):
        ran = {r.op for r in reports if r.forward and (kind != "gradient" or r.gradient) or kind in r.differs}
        differ = {r.op for r in reports if kind in r.differs}
        told[kind] = f"{len(ran - differ)} of {len(ran)}"
    return told


def main(names: list[str]) -> None:
    reports = []
    for info in op_db:
        if not names or info.name in names or title(info) in names:
            report = run(info)
            reports.append(report)
            for kind, texts in report.differs.items():
                for text in texts[: None if names else 2]:
                    print(f"{report.name}: {kind}: {text}", flush=True)
    for kind, text in figures(reports).items():
        print(f"{kind}: {text} ops agree")


if __name__ == "__main__":
    main(sys.argv[1:])
