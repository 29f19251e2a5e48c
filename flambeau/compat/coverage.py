"""What of torch's public names flambeau has, and why the others are missing.

    python -m flambeau.compat.coverage [MODULE ...]

The names are those of the table of :mod:`flambeau.compat.names`: where a module of torch lists its names in
``__all__``, these, otherwise all without an underscore. The reasons stand beside the table, in ``missing.txt``: one a
paragraph, below it what it holds for, modules as ``torch.X.*`` and names as ``torch.X: a b c``.
"""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Iterator
from functools import cache
from typing import Final, NamedTuple

from flambeau.compat import names, namespace

#: The modules that are compared, in the order in which a page shows them.
MODULES: Final = (
    ".", "nn", "nn.functional", "nn.init", "nn.parameter", "nn.attention", "nn.attention.bias",
    "nn.attention.flex_attention", "nn.utils", "nn.utils.parametrizations", "nn.utils.parametrize",
    "nn.utils.prune", "nn.utils.rnn", "nn.utils.stateless", "nn.utils.fusion", "optim", "optim.lr_scheduler",
    "optim.swa_utils", "autograd", "autograd.forward_ad", "autograd.functional", "autograd.graph",
    "autograd.profiler", "func", "linalg", "fft", "special", "signal.windows", "masked", "sparse", "nested",
    "random", "distributions", "distributions.constraints", "distributions.constraint_registry", "distributions.kl",
    "distributions.transforms", "distributions.utils", "library", "testing", "overrides", "hub", "multiprocessing",
    "profiler", "futures", "monitor", "utils", "utils.benchmark", "utils.checkpoint", "utils.collect_env",
    "utils.cpp_extension", "utils.data", "utils.deterministic", "utils.dlpack", "utils.flop_counter", "utils.hooks",
    "utils.model_zoo", "utils.module_tracker", "utils.tensorboard", "accelerator", "accelerator.memory",
    "backends.cpu", "backends.cuda", "backends.cudnn", "backends.mkl", "backends.mkldnn", "backends.mps",
    "backends.nnpack", "backends.openmp", "backends.opt_einsum", "cpu", "cuda", "cuda.memory", "cuda.random", "mps",
    "mtia", "xpu", "amp", "types", "version", "storage", "serialization", "return_types", "jit", "fx", "compiler",
    "distributed", "export", "onnx",
)  # fmt: skip


class Compared(NamedTuple):
    """A namespace: torch's public names there that flambeau has, and those that it has not."""

    there: tuple[str, ...]
    missing: tuple[str, ...]


@cache
def compared(module: str) -> Compared:
    """Compare one module of torch, "" for torch itself, with what ``import torch`` gives when it is flambeau."""
    entries = names.entries(module)
    wanted = [n for n, e in entries.items() if e.listed] or [n for n in entries if not n.startswith("_")]
    there = tuple(n for n in sorted(wanted) if _has(module, n))
    return Compared(there, tuple(sorted(set(wanted) - set(there))))


def _has(module: str, name: str) -> bool:
    below = f"{module}.{name}" if module else name
    if names.entries(module)[name].is_module:
        return namespace.exists(below)
    try:
        namespace.look_up(module, name)
    except LookupError:
        return namespace.exists(below)
    return True


class Reason(NamedTuple):
    """Why names are missing: a text, and patterns of what it holds for, ``module.name``."""

    text: str
    patterns: tuple[str, ...]

    def covers(self, module: str, name: str) -> bool:
        """Whether this is why ``torch.MODULE.NAME`` is missing."""
        full = f"torch.{module}.{name}" if module else f"torch.{name}"
        return any(fnmatch.fnmatchcase(full, p) for p in self.patterns)


@cache
def reasons() -> tuple[Reason, ...]:
    """The reasons that ``missing.txt`` gives."""
    text = (names.FOLDER / "missing.txt").read_text(encoding="utf-8")
    return tuple(_reason(paragraph) for paragraph in text.strip().split("\n\n"))


def _reason(paragraph: str) -> Reason:
    lines = paragraph.splitlines()
    said = " ".join(line for line in lines if not line.startswith("    "))
    return Reason(said, tuple(_patterns(line.strip() for line in lines if line.startswith("    "))))


def _patterns(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        module, colon, listed = line.partition(":")
        if colon:
            yield from (f"{module}.{name}" for name in listed.split())
        else:
            yield module


def main(asked: list[str]) -> None:
    """Print the counts, and what is missing."""
    total = have = 0
    for module in asked or MODULES:
        found = compared(module.strip("."))
        total, have = total + len(found.there) + len(found.missing), have + len(found.there)
        if found.missing:
            lacking = " ".join(found.missing)
            print(f"torch.{module.strip('.')}: {len(found.there)}, missing {len(found.missing)}: {lacking}")
    print(f"{have} of {total} names")


if __name__ == "__main__":
    main(sys.argv[1:])
