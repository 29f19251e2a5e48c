"""The op database: sample inputs, independent references and error inputs of every op.

They hang on the records (``Op.samples``, ``Op.reference``, ``Op.error_samples``), one file per family,
and drive the tests of every op on every backend. :func:`load` reads them; ``import flambeau`` does not.
A new op needs two lines::

    sample_rows({"hypot": lambda m: [(m(3, 4), m(4))]})
    reference("hypot", np.hypot)

Host arrays stand for tensors everywhere. A sample has the arguments of the record's public function:
operands by position, params by either of their names. A reference gets the same arguments, floating
ones in float64 (complex ones in complex128), and returns what the op must return, or a tuple; it is
written independently of the op, on numpy or scipy.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from flambeau.core.record import OPS, Op
from flambeau.plugins.conformance.opdb.maker import Maker

FAMILIES: Final = ("elementwise", "reduce", "linalg", "fourier", "shape", "index", "nn", "losses", "images", "random")


class Sample:
    """Arguments for one call of an op. ``smooth`` is False where finite differences would not work (at a
    tie or a kink), so that gradients are not checked there.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        self.args, self.kwargs, self.smooth = args, kwargs, True

    @classmethod
    def rough(cls, *args: Any, **kwargs: Any) -> Sample:
        """A sample at which gradients are not checked."""
        made = cls(*args, **kwargs)
        made.smooth = False
        return made

    def __repr__(self) -> str:
        return f"Sample({', '.join([*map(brief, self.args), *(f'{k}={brief(v)}' for k, v in self.kwargs.items())])})"


class Failure:
    """Arguments that must raise ``error`` with every one of ``words`` in its text."""

    def __init__(self, error: type[BaseException], words: str | tuple[str, ...], *args: Any, **kwargs: Any):
        self.error, self.args, self.kwargs = error, args, kwargs
        self.words = (words,) if isinstance(words, str) else words

    def __repr__(self) -> str:
        return f"Failure({self.error.__name__}, {Sample(*self.args, **self.kwargs)!r})"


def brief(value: Any) -> str:
    """A value for a test's message: arrays by dtype and shape."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype}{list(value.shape)}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(brief, value))}]"
    return repr(value)


Samples = Callable[[Maker], Iterable[Sample]]
Failures = Callable[[Maker], Iterable[Failure]]

#: By op name: how much wider than usual the tolerance is against the reference, where rounding adds up.
slack: Final[dict[str, float]] = {}
#: By op name: of results that the op leaves a choice in, those of one choice, the same for every backend.
settled: Final[dict[str, Callable[..., tuple[Any, ...]]]] = {}


def _record(name: str) -> Op:
    if name not in OPS:
        raise KeyError(f"opdb: there is no op {name!r}")
    return OPS[name]


def samples(*names: str) -> Callable[[Samples], Samples]:
    """Register ``fn(maker)``, a generator of :class:`Sample`, as the samples of the ops ``names``."""

    def register(fn: Samples) -> Samples:
        for name in names:
            _record(name).samples = fn
        return fn

    return register


def reference(name: str, fn: Callable[..., Any], *, tolerance: float = 1.0) -> None:
    """Register the independent implementation of an op; ``tolerance`` multiplies the usual one."""
    _record(name).reference = fn
    if tolerance != 1.0:
        slack[name] = tolerance


def errors(*names: str) -> Callable[[Failures], Failures]:
    """Register ``fn(maker)``, a generator of :class:`Failure`, as the error inputs of the ops ``names``."""

    def register(fn: Failures) -> Failures:
        for name in names:
            _record(name).error_samples = fn
        return fn

    return register


R = TypeVar("R")
Rows = Mapping[str, Callable[[Maker], "list[Any]"]]


def _of_rows(kind: type[R], make: Callable[[Maker], list[Any]]) -> Callable[[Maker], list[R]]:
    def made(m: Maker) -> list[R]:
        return [row if isinstance(row, kind) else kind(*row) for row in make(m)]

    made.__module__ = make.__module__  # which tells the family
    return made


def sample_rows(rows: Rows) -> None:
    """Register the samples of ops: of each a list, in which a tuple is the positional arguments of a sample.

    A key names one op or, with spaces between, several.
    """
    for names, make in rows.items():
        samples(*names.split())(_of_rows(Sample, make))


def error_rows(rows: Rows) -> None:
    """Like :func:`sample_rows`, for the error inputs: a tuple is the positional arguments of a :class:`Failure`."""
    for names, make in rows.items():
        errors(*names.split())(_of_rows(Failure, make))


def references(fns: Mapping[str, Callable[..., Any]], *, tolerance: float = 1.0) -> None:
    """Register many a :func:`reference`."""
    for name, fn in fns.items():
        reference(name, fn, tolerance=tolerance)


_loaded = False


def load() -> dict[str, Op]:
    """The records with everything that the family files know about them."""
    global _loaded
    if not _loaded:
        import flambeau.core.ops  # noqa: F401  # declares the records

        for family in FAMILIES:
            importlib.import_module(f"{__name__}.{family}")
        _loaded = True
    return OPS


__all__ = ["FAMILIES", "Failure", "Maker", "Sample", "brief", "error_rows", "errors", "load", "reference", "references",
           "sample_rows", "samples", "settled", "slack"]  # fmt: skip
