"""What of torch's public names flambeau has, and why the others are missing.

    python -m flambeau.compat.coverage [NAMESPACE ...]

Two lists are compared. The names that torch's documentation describes, methods and attributes of classes among them,
stand in ``documented.txt``; ``names.txt`` has what the modules of torch list in ``__all__`` besides. Why documented
names are missing stands beside them, in ``missing.txt``: one reason a paragraph, below it what it holds for, modules as
``torch.X.*`` and names as ``torch.X: a b c``.
"""

from __future__ import annotations

import fnmatch
import inspect
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final, NamedTuple

from flambeau.compat import names, namespace

#: The namespaces of torch that are compared, in the order in which a page shows them: each with the modules below it
#: that none of the others takes. "Tensor" is the class.
NAMESPACES: Final = (
    ".", "Tensor", "nn", "nn.functional", "nn.init", "nn.attention", "nn.utils", "optim", "autograd", "func", "linalg",
    "fft", "special", "signal", "masked", "sparse", "nested", "random", "distributions", "library", "testing",
    "overrides", "utils", "utils.data", "hub", "serialization", "storage", "multiprocessing", "profiler", "futures",
    "monitor", "accelerator", "backends", "cpu", "cuda", "mps", "xpu", "amp", "compiler", "fx", "types",
    "version", "return_types",
)  # fmt: skip
#: Capabilities to come, and the devices and tools of one vendor: what is there is shown, and not counted.
LATER: Final = (
    "distributed", "export", "onnx", "ao", "quantization", "package", "jit", "mtia",
    "fx.experimental", "fx.passes", "_inductor", "_functorch", "_higher_order_ops", "ops", "_logging", "numa",
    "utils.hipify", "utils.jit", "utils.mobile_optimizer",
)  # fmt: skip


class Compared(NamedTuple):
    """A namespace: torch's names there that flambeau has, and those that it has not, as ``module.name``."""

    there: tuple[str, ...]
    missing: tuple[str, ...]

    @property
    def total(self) -> int:
        """How many names torch has there."""
        return len(self.there) + len(self.missing)


@cache
def documented(place: str) -> Compared:
    """Compare what torch's documentation describes in one namespace with what ``import torch`` gives here."""
    return _compared((m, n) for m, listed in names.documented().items() for n in listed if _namespace(m, n) == place)


@cache
def undocumented(place: str) -> Compared:
    """Compare the names of ``__all__`` in a namespace's modules that the documentation leaves out."""
    return _compared(
        (module, name)
        for module in sorted(names.modules())
        if _namespace(module, "") == place
        for name in _public(module)
        if name not in names.documented().get(module, ())
    )


def _public(module: str) -> list[str]:
    return [name for name, entry in names.entries(module).items() if entry.listed]


@cache
def _namespace(module: str, name: str) -> str:
    if not module and name.partition(".")[0] == "Tensor":
        return "Tensor"
    holding = [n for n in (*NAMESPACES, *LATER) if module == n or module.startswith(f"{n}.")]
    return max(holding, key=len) if holding else "."


def _compared(wanted: Iterable[tuple[str, str]]) -> Compared:
    found: dict[bool, list[str]] = {True: [], False: []}
    for module, name in wanted:
        found[_has(module, name)].append(f"{module}.{name}" if module else name)
    return Compared(tuple(sorted(found[True])), tuple(sorted(found[False])))


def _has(module: str, name: str) -> bool:
    first, *rest = name.split(".")
    below = f"{module}.{first}" if module else first
    entry = names.entries(module).get(first)
    if entry is not None and entry.is_module:
        return namespace.exists(below)
    try:
        value = namespace.look_up(module, first)
    except LookupError:
        return namespace.exists(below)
    return namespace.exists(module) and _has_members(value, rest)


def _has_members(value: Any, rest: list[str]) -> bool:  # Any: whatever object torch has under the name
    for name in rest:
        owner, value = value, inspect.getattr_static(value, name, None)
        if value is None and not hasattr(owner, name):
            classes = owner.__mro__ if isinstance(owner, type) else ()
            return any(name in inspect.get_annotations(c) for c in classes)  # a field that each object has
    return True


class Reason(NamedTuple):
    """Why names are missing: a text, and patterns of what it holds for, ``module.name``."""

    text: str
    patterns: tuple[str, ...]

    def covers(self, name: str) -> bool:
        """Whether this is why ``torch.NAME`` is missing."""
        return any(fnmatch.fnmatchcase(f"torch.{name}", p) for p in self.patterns)


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
    there = total = 0
    for place in asked or NAMESPACES:
        described, others = documented(place), undocumented(place)
        there, total = there + len(described.there), total + described.total
        print(f"torch.{place}: {len(described.there)} of {described.total} documented names", end="")
        print(f", {len(others.there)} of {others.total} others" if others.total else "")
        for found, label in ((described, "missing"), (others, "missing, not documented")):
            if found.missing:
                print(f"    {label}: {' '.join(found.missing)}")
    print(f"{there} of {total} documented names, {there / max(total, 1):.1%}")


if __name__ == "__main__":
    main(sys.argv[1:])
