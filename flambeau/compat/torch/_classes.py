"""torch.classes: classes by namespace and name that libraries of packages register."""

from __future__ import annotations

from typing import Final

__all__ = ["classes", "enter"]

_ENTERED: Final[dict[tuple[str, str], type]] = {}


def enter(namespace: str, name: str, made: type) -> None:
    """Let ``torch.classes.NAMESPACE.NAME`` be a class."""
    _ENTERED[namespace, name] = made


class _Namespace:
    """The classes of one library."""

    def __init__(self, name: str):
        self.name = name

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        found = _ENTERED.get((self.name, name))
        if found is None:
            raise RuntimeError(f"torch.classes.{self.name}.{name}: the library that has it is not loaded")
        return found


class _Classes:
    """``torch.classes``."""

    def __init__(self) -> None:
        self.__file__ = "_classes.py"
        self._namespaces: dict[str, _Namespace] = {}

    def __getattr__(self, name: str) -> _Namespace:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._namespaces.setdefault(name, _Namespace(name))

    @property
    def loaded_libraries(self) -> set[str]:
        """What was given to :meth:`load_library`."""
        from flambeau.compat.torch._ops import ops  # which enters classes, so imports this module

        return ops.loaded_libraries

    def load_library(self, path: str) -> None:
        """:meth:`torch.ops.load_library`."""
        from flambeau.compat.torch._ops import ops  # which enters classes, so imports this module

        ops.load_library(path)


classes = _Classes()
