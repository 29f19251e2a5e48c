"""What holds for every compiled function that is not told otherwise: ``flambeau.compiler.config``.

>>> with fb.compiler.config.patch(recompile_limit=2):
...     print(fb.compiler.config.recompile_limit, fb.compiler.config.cache_size_limit)
2 2
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

__all__ = [
    "accumulated_cache_size_limit", "accumulated_recompile_limit", "allow_unspec_int_on_nn_module",
    "assume_static_by_default", "automatic_dynamic_shapes", "cache_size_limit", "capture_dynamic_output_shape_ops",
    "capture_scalar_outputs", "disable", "dynamic_shapes", "fail_on_recompile_limit_hit", "force_disable_caches",
    "optimize_ddp", "patch", "recompile_limit", "suppress_errors", "verbose",
]  # fmt: skip

recompile_limit = 8  #: how many kinds of calls a function keeps recordings of
cache_size_limit = 8  #: the older name of ``recompile_limit``
disable = False  #: whether what is compiled from now on runs eagerly
fail_on_recompile_limit_hit = False  #: whether what cannot be recorded as one graph is an error, as by ``fullgraph``
automatic_dynamic_shapes = dynamic_shapes = True  #: whether calls of other sizes may share a recording by themselves
assume_static_by_default = True  #: False: as ``dynamic=True`` where nothing is said
# What programs set of PyTorch's tracer of Python; nothing reads it.
accumulated_cache_size_limit = accumulated_recompile_limit = 256
optimize_ddp = True
allow_unspec_int_on_nn_module = capture_dynamic_output_shape_ops = capture_scalar_outputs = False
force_disable_caches = suppress_errors = verbose = False


def dynamic(asked: bool | None) -> bool | None:
    """Which sizes may share a recording, as ``dynamic`` of compile has it, where that says nothing too."""
    if asked is not None:
        return asked
    if not (automatic_dynamic_shapes and dynamic_shapes):
        return False
    return None if assume_static_by_default else True


@contextlib.contextmanager
def patch(
    changes: str | Mapping[str, Any] | None = None, value: Any = None, **more: Any
) -> Iterator[None]:  # Any: of any setting
    """Other settings inside: by keyword, by a mapping, or one by name and value. A context manager and a decorator."""
    given = {changes: value} if isinstance(changes, str) else dict(changes or {})
    module = sys.modules[__name__]
    before = {}
    for name in (given := given | more):
        if not hasattr(module, name):
            raise AttributeError(f"config.patch: there is no setting {name!r}")
        before[name] = getattr(module, name)
    try:
        for name, new in given.items():
            setattr(module, name, new)
        yield
    finally:
        for name, old in before.items():
            setattr(module, name, old)


class _Settings(ModuleType):
    """The module's class: one number has two names."""

    @property
    def cache_size_limit(self) -> int:
        limit: int = self.__dict__["recompile_limit"]
        return limit

    @cache_size_limit.setter
    def cache_size_limit(self, value: int) -> None:
        self.__dict__["recompile_limit"] = value


sys.modules[__name__].__class__ = _Settings
