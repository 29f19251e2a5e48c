"""Writes flambeau/compat/torch/names.txt: the public modules of an installed torch and the names in each.

    python .ci/torch_names.py

A line is ``module: name name ...``, without the leading ``torch.``. ``name@home`` is the same object as ``home.name``,
and ``name@home.other`` the same as ``home.other``; ``name/`` is a module below this one that ``import torch`` brings;
``*name`` stands in ``__all__``. Of objects it is looked at where they are found, and whether two are one.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import types
import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

TARGET = Path(__file__).parent.parent / "flambeau" / "compat" / "torch" / "names.txt"
#: What is below these is internal, or belongs to parts that a build may lack: the module itself is enough.
LEAVES = ("ao", "contrib", "distributed", "export", "jit", "onnx", "package", "quantization", "testing")
#: Packages reach for private names in these: ``_ConvNd``, ``_LRScheduler``, ``_foreach_add_``.
REACHED = ("", "nn", "optim", "distributions", "utils.data", "utils.hooks", "autograd.function", "serialization")
IDENTITY_FREE = (bool, int, float, str, bytes, type(None), tuple, list, dict, set, frozenset, complex)


def inner(name: str) -> str:
    return name.removeprefix("torch").removeprefix(".")


def public(name: str) -> bool:
    return not any(part.startswith("_") and part != "__config__" for part in name.split("."))


def walk(package: types.ModuleType) -> list[types.ModuleType]:
    """The package and the public modules below it, as far as they can be imported here."""
    found = [package]
    top = inner(package.__name__)
    if top in LEAVES:
        return found
    for info in pkgutil.iter_modules(getattr(package, "__path__", ())):
        name = f"{package.__name__}.{info.name}"
        if not public(name):
            continue
        try:
            found += walk(importlib.import_module(name))
        except Exception as error:
            print(f"left out: {name}: {error}", file=sys.stderr)
    return found


def reached(short: str) -> bool:
    return any(short == r or r and short.startswith(f"{r}.") for r in REACHED)


def belongs(value: Any) -> bool:
    """Whether torch itself made the object: no module or class of Python, no type variable."""
    if isinstance(value, types.ModuleType):
        return value.__name__.split(".")[0] == "torch"
    home = getattr(value, "__module__", None) or "torch"
    if isinstance(value, type) or callable(value):
        return home.split(".")[0] in ("torch", "builtins") and not (home == "builtins" and isinstance(value, type))
    return type(value).__module__.split(".")[0] not in ("typing", "__future__", "logging", "re", "sympy")


def rank(place: tuple[str, str], value: Any) -> tuple[bool, int, int, str]:
    """Of several places of an object the one with the fewest dots names it; a private one is named where it is made."""
    module, name = place
    elsewhere = name.startswith("_") and getattr(value, "__module__", None) != f"torch.{module}"
    return elsewhere, module.count(".") + bool(module), len(module), f"{module}.{name}"


def main() -> None:
    warnings.simplefilter("ignore")
    import torch

    at_start = {m.__name__: set(dir(m)) for m in list(sys.modules.values()) if inner(m.__name__) != m.__name__}
    modules = {inner(m.__name__): m for m in walk(torch)}
    names: dict[str, dict[str, Any]] = {}
    places: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for short, module in sorted(modules.items()):
        names[short] = {}
        own = set(getattr(module, "__all__", ()))
        for name in dir(module):
            value = getattr(module, name, None)
            if name.startswith("__") and name != "__config__" or name not in own and not belongs(value):
                continue
            private = name.startswith("_") and name != "__config__"
            if name == "TYPE_CHECKING" or private and not (callable(value) and reached(short)):
                continue
            if isinstance(value, types.ModuleType):
                full = f"{module.__name__}.{name}"
                if value.__name__ != full or not public(full) or name not in at_start.get(module.__name__, {name}):
                    continue
            names[short][name] = value
            if not isinstance(value, (*IDENTITY_FREE, types.ModuleType)):
                places[id(value)].append((short, name))
    lines = []
    for short, found in names.items():
        listed = set(getattr(modules[short], "__all__", ()))
        words = []
        for name, value in sorted(found.items()):
            text = ("*" if name in listed else "") + name
            if isinstance(value, types.ModuleType):
                text += "/"
            elif places[id(value)]:
                home, other = min(places[id(value)], key=lambda place: rank(place, value))
                if (home, other) != (short, name):
                    text += f"@{home}" if other == name else f"@{home}.{other}"
            words.append(text)
        lines.append(f"{short}: {' '.join(words)}\n")
    TARGET.write_text(f"# torch {torch.__version__.split('+')[0]}, by .ci/torch_names.py\n" + "".join(lines))
    print(f"{TARGET}: {len(lines)} modules, {sum(map(len, names.values()))} names")


if __name__ == "__main__":
    main()
