"""Which code is the program's own: what is neither flambeau, nor numpy, nor Python's standard library."""

from __future__ import annotations

import dis
import functools
import os
import sys
import sysconfig
from dataclasses import dataclass
from types import CodeType, FrameType

import numpy as np

SKIP, LIBRARY, OWN, TEXT = 0, 1, 2, 3  # flambeau and what it is made of; the standard library; the program; by exec

#: Packages that flambeau and its backends call for their own work.
_OURS = frozenset(
    {"flambeau", "numpy", "ml_dtypes", "llvmlite", "pluggy", "safetensors"}
    | {"pyopencl", "pytools", "cupy", "cupyx", "cupy_backends", "jax", "jaxlib", "flambeau_jax"}
)

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_SKIPPED = tuple({
    folder + os.sep
    for folder in (
        _ROOT, os.path.realpath(_ROOT), os.path.dirname(np.__file__),
        *(os.path.realpath(os.path.join(_ROOT, name)) for name in ("core", "backends", "nn", "optim", "plugins")),
    )
})  # fmt: skip
_STANDARD = tuple({
    folder + os.sep
    for name in ("stdlib", "platstdlib")
    for folder in (sysconfig.get_path(name), os.path.realpath(sysconfig.get_path(name)))
})  # fmt: skip

_IMPORTS = frozenset({"IMPORT_NAME", "IMPORT_FROM"})
_NAMED = {op for op, number in dis.opmap.items() if number in dis.hasname} - _IMPORTS
_OF_GLOBALS = frozenset(op for op in _NAMED if op.endswith(("_GLOBAL", "_NAME", "_GLOBALS")))
_OF_ATTRIBUTES = frozenset(_NAMED | _IMPORTS) - _OF_GLOBALS

#: The kind of each file that was met.
KINDS: dict[str, int] = {}


def kind_of(filename: str) -> int:
    """SKIP, LIBRARY or OWN; TEXT where only the globals tell."""
    found = KINDS.get(filename)
    if found is None:
        found = KINDS[filename] = _kind_of(filename)
    return found


def _kind_of(filename: str) -> int:
    if filename.startswith(("<flambeau", "<expr ", "<__array_function__", *_SKIPPED)):
        return SKIP
    if filename.startswith("<frozen "):
        return LIBRARY
    parts = filename.split(os.sep)
    installed = next((i for i, part in enumerate(parts) if part in ("site-packages", "dist-packages")), None)
    if installed is not None and parts[installed + 1] in _OURS:
        return SKIP
    if filename.startswith(_STANDARD) and installed is None:
        return LIBRARY
    return TEXT if filename == "<string>" else OWN


def kind_of_frame(frame: FrameType) -> int:
    """SKIP, LIBRARY or OWN."""
    found = kind_of(frame.f_code.co_filename)
    if found == TEXT:  # dataclasses and named tuples write such code
        name = str(frame.f_globals.get("__name__"))
        return OWN if is_own_module(name) and not name.startswith("namedtuple_") else SKIP
    return found


_modules: dict[str, bool] = {}


def is_own_module(name: str) -> bool:
    """Whether a Python module of this name is the program's own."""
    found = _modules.get(name)
    if found is None:
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names and top != "__main__":
            found = False
        else:
            file = getattr(sys.modules.get(name), "__file__", None)
            found = top not in _OURS and (file is None or kind_of(file) == OWN)
        _modules[name] = found
    return found


def is_own(kind: type) -> bool:
    """Whether a class is written in the program's own Python."""
    return is_own_module(getattr(kind, "__module__", "") or "")


def shown(frame: FrameType) -> str:
    """Where a frame is, such as ``train.py:12``."""
    return f"{_base(frame.f_code.co_filename)}:{frame.f_lineno}"


_base = functools.lru_cache(1024)(os.path.basename)


def frame_of_program() -> FrameType | None:
    """The innermost frame of the program's own code."""
    frame: FrameType | None = sys._getframe(1)
    kinds = KINDS  # asked at each node of a recording, most often of flambeau's own frames
    while frame is not None and (kinds.get(frame.f_code.co_filename) == SKIP or kind_of_frame(frame) != OWN):
        frame = frame.f_back
    return frame


def place_of_program() -> str:
    """The line of the program's own code that is running, such as ``train.py:12``; "" where there is none."""
    frame = frame_of_program()
    return "" if frame is None else shown(frame)


@dataclass(frozen=True, slots=True)
class Names:
    """The names that code uses, with all code inside it; a name may be both a global's and an attribute's."""

    globals: frozenset[str]
    attributes: frozenset[str]
    inside: tuple[CodeType, ...]


@functools.lru_cache(4096)
def names_of(code: CodeType) -> Names:
    """The names of globals and attributes that code uses, and all code inside it."""
    instructions = [(i.opname, i.argval) for i in dis.get_instructions(code)]
    of_globals = {name for op, name in instructions if op in _OF_GLOBALS}
    attributes = {name for op, name in instructions if op in _OF_ATTRIBUTES}
    inside: list[CodeType] = []
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            more = names_of(constant)
            of_globals |= more.globals
            attributes |= more.attributes
            inside += [constant, *more.inside]
    texts = [c for c in code.co_consts if isinstance(c, str) and c.isidentifier()]
    if (of_globals | attributes) & {
        "getattr",
        "hasattr",
        "setattr",
        "delattr",
        "attrgetter",
    }:  # by their names in quotes
        attributes.update(texts)
    if "globals" in of_globals:
        of_globals.update(texts)
    return Names(frozenset(of_globals), frozenset(attributes), tuple(inside))
