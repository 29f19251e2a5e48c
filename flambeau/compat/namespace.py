"""Modules called ``torch`` and ``torch.*``, whose names are flambeau's.

A name of ``torch.M`` is, in this order: what the file ``flambeau/compat/torch/M.py`` has, what ``flambeau.M`` has, and
what stands at the other places where torch has the same object. Only names that torch has are there.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final

from flambeau.compat import names, seams

VERSION: Final = "2.13.0"
#: Where ``torch.__file__`` points: a folder that holds nothing else, so that no other finder finds parts of torch.
PACKAGE: Final = Path(__file__).parent / "package" / "torch"
_PLAIN: Final = (type(None), bool, int, float, str)
_Feature: Final = type(annotations)  # what `from __future__ import annotations` leaves in a module


def _full(module: str) -> str:
    return f"torch.{module}" if module else "torch"


@cache
def habit(module: str) -> ModuleType | None:
    """The file of ours that answers for a module of torch, imported; None where there is none."""
    own = module or "_torch"
    return importlib.import_module(f"flambeau.compat.torch.{own}") if own in names.habits() else None


@cache
def counterpart(module: str) -> ModuleType | None:
    """flambeau's module at the same place; None where it has none."""
    found: Any = importlib.import_module("flambeau")
    for part in module.split(".") if module else ():
        below = found.__dict__.get(part)
        if not isinstance(below, ModuleType):
            try:
                below = importlib.import_module(f"{found.__name__}.{part}")
            except ModuleNotFoundError as error:
                if error.name != f"{found.__name__}.{part}":
                    raise
                below = None
        if below is None:
            return None
        found = below
    return None if module.split(".")[0] in ("backends", "compat", "core", "data", "plugins") else found


class _Missing(LookupError):
    pass


def _here(module: str, name: str) -> Any:
    """What our file or flambeau's module has under this name, modules aside; _Missing otherwise."""
    for source in (habit(module), counterpart(module)):
        if source is not None:
            try:
                found = getattr(source, name)
            except AttributeError:
                continue
            if not isinstance(found, ModuleType) or found.__name__.split(".")[0] not in ("flambeau", "__future__"):
                return found
    raise _Missing(name)


def look_up(module: str, name: str) -> Any:  # Any: whatever object torch has under the name
    """The object that ``torch.MODULE.NAME`` is; _Missing where flambeau has none."""
    for place in ((module, name), *names.places(module, name)):
        try:
            return _here(*place)
        except _Missing:
            continue
    raise _Missing(name)


def exists(module: str) -> bool:
    """Whether ``import torch.MODULE`` works: something of ours stands there, or one of its names elsewhere."""
    if module in ("", *names.habits()):
        return not module.startswith("_torch")
    if module in names.OPEN and counterpart(module) is not None:
        return True
    if module not in names.modules():
        return False
    if counterpart(module) is not None or any(m.startswith(f"{module}.") for m in names.habits()):
        return True
    for name, entry in names.entries(module).items():
        if not entry.is_module and entry.home != (module, name) and entry.home[0] not in ("", "nn.Module"):
            try:
                look_up(module, name)
            except _Missing:
                continue
            return True
    return False


class Namespace(ModuleType):
    """One module of torch. Names are looked up at first use; what is set is set in flambeau's module too."""

    def __getattr__(self, name: str) -> Any:  # Any: whatever object torch has under the name
        module = self.__name__.removeprefix("torch").removeprefix(".")
        if not (name.startswith("__") and name.endswith("__")) or name in names.entries(module):
            found = _member(module, name)
            if found is not None:
                value, lasting = found
                if lasting:
                    self.__dict__[name] = value
                return value
        elif name == "__all__" and any(entry.listed for entry in names.entries(module).values()):
            return [n for n, entry in names.entries(module).items() if entry.listed and hasattr(self, n)]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)

    def __setattr__(self, name: str, value: Any) -> None:
        module = self.__name__.removeprefix("torch").removeprefix(".")
        if not name.startswith("__") and not isinstance(value, ModuleType):
            for source in (habit(module), counterpart(module)):
                if source is not None and hasattr(source, name):
                    setattr(
                        source, name, value
                    )  # a patch of torch.nn.init is seen by flambeau's layers, a flag is kept
                    self.__dict__.pop(name, None)
                    return
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        module = self.__name__.removeprefix("torch").removeprefix(".")
        known = {*self.__dict__, *names.entries(module), *_own_names(module)}
        return sorted(name for name in known if name in self.__dict__ or hasattr(self, name))


def _own_names(module: str) -> list[str]:
    """The names that a module of torch has here beside those of the table."""
    found: list[str] = []
    for source in (habit(module), counterpart(module) if module in names.OPEN else None):
        if source is not None:
            there = [n for n, v in vars(source).items() if not n.startswith("__") and not isinstance(v, ModuleType)]
            listed = getattr(source, "__all__", ())
            known = module in names.modules()
            found += [n for n in there if n != "annotations" and (n.startswith("_") or n in listed or not known)]
    return found


def _member(module: str, name: str) -> tuple[Any, bool] | None:
    """An attribute of ``torch.MODULE`` and whether it stays the same; None where torch or flambeau has none."""
    if not module and name == "torch":  # torch.torch is torch
        return sys.modules["torch"], True
    entry = names.entries(module).get(name)
    below = f"{module}.{name}" if module else name
    known = entry is not None or name in _own_names(module) or name in names.documented().get(module, ())
    if not known and below not in names.habits():
        return None
    if name != "annotations" and (entry is None or not entry.is_module):
        try:
            found = look_up(module, name)
        except _Missing:
            pass
        else:
            return found, not isinstance(found, _PLAIN)  # a flag may change
    if exists(below):
        return importlib.import_module(_full(below)), True
    return None


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ``torch`` and what is below it, before the path is searched; and its version, for importlib.metadata."""

    def __init__(self, distribution: bool = True):
        self.distribution = distribution

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        top, _, module = fullname.partition(".")
        if fullname in seams.SEAMS:
            return seams.find(fullname)
        if top != "torch" or not exists(module):
            return None
        package = names.is_package(module)
        inner = PACKAGE.joinpath(*module.split(".")) if module else PACKAGE
        file = inner / "__init__.py" if package else inner.with_suffix(".py")
        spec = importlib.machinery.ModuleSpec(fullname, self, origin=str(file), is_package=package)
        spec.has_location = True
        if package:
            spec.submodule_search_locations = [str(inner)]
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return Namespace(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Enter what is there already, so that ``vars(torch.optim)`` shows it; the rest comes when it is asked for."""
        short = module.__name__.removeprefix("torch").removeprefix(".")
        allowed = names.entries(short)
        version = getattr(habit(short), "__version__", None)
        if version is not None:
            module.__dict__["__version__"] = version
        for source in (counterpart(short), habit(short)):
            if source is None or type(source) is not ModuleType:
                continue
            listed = {*allowed, *_own_names(short)}
            for name, value in list(vars(source).items()):
                if name in listed and not isinstance(value, (ModuleType, _Feature, *_PLAIN)):
                    module.__dict__[name] = value
        if short.startswith("nn.modules."):  # packages look for classes in vars(torch.nn.modules.activation)
            for name, entry in allowed.items():
                if not entry.is_module:
                    getattr(module, name, None)

    def get_code(self, fullname: str) -> CodeType:
        """What ``python -m torch.MODULE`` runs: our file of that name."""
        ours = habit(fullname.partition(".")[2])
        if ours is None or ours.__file__ is None:
            raise ImportError(f"{fullname} is no program")
        return compile(Path(ours.__file__).read_bytes(), ours.__file__, "exec")

    def find_distributions(
        self, context: importlib.metadata.DistributionFinder.Context | None = None
    ) -> Iterable[importlib.metadata.Distribution]:
        wanted = None if context is None else context.name
        return [Torch()] if self.distribution and (wanted is None or wanted.lower() == "torch") else []

    def invalidate_caches(self) -> None:
        """Nothing is kept that the file system could change."""


class Torch(importlib.metadata.Distribution):
    """The distribution ``torch`` that ``importlib.metadata`` sees while the finder is installed."""

    def read_text(self, filename: str) -> str | None:
        if filename != "METADATA":
            return None
        return f"Metadata-Version: 2.1\nName: torch\nVersion: {VERSION}\nSummary: flambeau under the name torch\n"

    def locate_file(self, path: Any) -> Any:  # Any: the types of importlib.metadata differ between versions
        return PACKAGE.parent / str(path)


def is_ours(module: ModuleType) -> bool:
    """Whether a module called torch is flambeau."""
    return isinstance(module, Namespace)


def installed() -> bool:
    """Whether ``import torch`` gives flambeau in this process."""
    return any(isinstance(finder, Finder) for finder in sys.meta_path)
