"""Modules and parameters in lists, dicts and sequences."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, NoReturn, Self, SupportsIndex, TypeVar

from flambeau.core.arguments import bounded
from flambeau.core.capture import structure
from flambeau.core.naming import typename
from flambeau.core.tensor import Tensor
from flambeau.nn.module import Module
from flambeau.nn.parameter import Parameter

V = TypeVar("V")
Pairs = Mapping[str, V] | Iterable[tuple[str, V]]


def _pairs(name: str, given: Pairs[V]) -> Iterator[tuple[str, V]]:
    """Names and values of a mapping, or of pairs; ValueError for what is no pair."""
    for pair in given.items() if isinstance(given, Mapping | ModuleDict | ParameterDict) else given:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise ValueError(f"{name}: expected a mapping or (name, value) pairs, got {pair!r} among them")
        yield pair[0], pair[1]


class Container(Module):
    """The children that it is given by name; the base of modules of old.

    >>> list(fb.nn.Container(act=fb.nn.ReLU())._modules)
    ['act']
    """

    def __init__(self, **kwargs: Module | None):
        super().__init__()
        for name, module in kwargs.items():
            self.add_module(name, module)


class _Numbered(Module):
    """Children under the names "0", "1", ..."""

    def _position(self, i: SupportsIndex) -> int:
        n = len(self)
        try:
            found = operator.index(i)
        except TypeError:
            name = type(self).__name__
            raise TypeError(f"{name}: an index must be an int or a slice, got {i!r} ({type(i).__name__})") from None
        if not -n <= found < n:
            raise IndexError(f"{type(self).__name__}: index {found} is out of range for {n} modules")
        return found % n if n else 0

    def _get_abs_string_index(self, idx: SupportsIndex) -> str:
        """The name of the child at a place, which may be counted from the end."""
        return str(self._position(idx))

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __dir__(self) -> list[str]:
        return [k for k in super().__dir__() if not k.isdigit()]

    def __getitem__(self, i: SupportsIndex | slice) -> Any:  # Any: of which class the child is shows at run time only
        if isinstance(i, slice):
            return type(self)(*self._arguments(list(self._modules.values())[i]))
        return list(self._modules.values())[self._position(i)]

    def __setitem__(self, i: SupportsIndex, module: Module) -> None:
        setattr(self, list(self._modules)[self._position(i)], module)

    def __delitem__(self, i: SupportsIndex | slice) -> None:
        names = list(self._modules)
        for name in names[i] if isinstance(i, slice) else [names[self._position(i)]]:
            structure.remove(self._modules, name)
        self._renumber(list(self._modules.values()))

    def _renumber(self, modules: list[Any]) -> None:
        structure.moved()
        self._modules.clear()
        self._modules.update((str(i), m) for i, m in enumerate(modules))

    def _arguments(self, modules: list[Any]) -> tuple[Any, ...]:
        """What the constructor takes for these children."""
        return (modules,)

    def append(self, module: Module | None) -> Self:
        """Add a module, or an empty place, at the end."""
        self.add_module(str(len(self)), module)
        return self

    def insert(self, index: int, module: Module) -> Self:
        """Add a module before ``index``."""
        if not isinstance(module, Module):
            raise TypeError(f"insert: {type(module).__name__} is not a Module subclass")
        modules = list(self._modules.values())
        modules.insert(index, module)
        self._renumber(modules)
        return self

    def extend(self, modules: Iterable[Module | None]) -> Self:
        """Add modules at the end."""
        for m in list(modules):
            self.append(m)
        return self

    def pop(self, key: int) -> Module:
        """Remove a module and return it."""
        found: Module = self[key]
        del self[key]
        return found


class Sequential(_Numbered):
    """Modules that take one another's results, in order; from modules or from an ordered dict of them.

    >>> fb.nn.Sequential(fb.nn.Linear(2, 3), fb.nn.ReLU())
    Sequential(
      (0): Linear(in_features=2, out_features=3, bias=True)
      (1): ReLU()
    )
    """

    def __init__(self, *args: Module | Mapping[str, Module]):
        super().__init__()
        mapped = len(args) == 1 and isinstance(args[0], Mapping)
        named: Any = args[0] if mapped else {str(i): m for i, m in enumerate(args)}
        for name, module in named.items():
            self.add_module(name, module)

    def forward(self, input: Any) -> Any:  # Any: what the first module takes and the last one gives
        """The result of the last module."""
        for module in self._modules.values():
            input = module(input)
        return input

    def _arguments(self, modules: list[Any]) -> tuple[Any, ...]:
        return ({n: m for n, m in self._modules.items() if any(m is x for x in modules)},)

    def _renumber(self, modules: list[Any]) -> None:
        if all(n.isdigit() for n in self._modules):
            super()._renumber(modules)

    def __add__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            return NotImplemented
        return Sequential(*chain(self, other))

    def __iadd__(self, other: Sequential) -> Self:
        if not isinstance(other, Sequential):
            return NotImplemented
        return self.extend(other)

    def __mul__(self, times: int) -> Sequential:
        if not isinstance(times, int):
            return NotImplemented
        bounded(times * len(self), "Sequential: the number of modules")
        return Sequential(*(m for _ in range(times) for m in self))

    __rmul__ = __mul__


class ModuleList(_Numbered):
    """A list of modules, all of which are registered.

    >>> layers = fb.nn.ModuleList([fb.nn.Linear(2, 2), fb.nn.ReLU()])
    >>> len(layers), layers[1]
    (2, ReLU())
    """

    def __init__(self, modules: Iterable[Module | None] | None = None):
        super().__init__()
        self.extend(modules or ())

    def _children_text(self) -> list[str]:
        """Equal neighbours on one line: ``(0-2): 3 x Linear(...)``."""
        lines: list[tuple[str, str, int]] = []  # the first name, the text, how many
        for name, module in self._modules.items():
            text = repr(module).replace("\n", "\n  ")
            if lines and lines[-1][1] == text:
                lines[-1] = (lines[-1][0], text, lines[-1][2] + 1)
            else:
                lines.append((name, text, 1))
        return [
            f"({name}): {text}" if count == 1 else f"({name}-{int(name) + count - 1}): {count} x {text}"
            for name, text, count in lines
        ]

    def __iadd__(self, modules: Iterable[Module | None]) -> Self:
        return self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList(chain(self, other))


class ModuleDict(Module):
    """A dict of modules, all of which are registered.

    >>> layers = fb.nn.ModuleDict({"act": fb.nn.ReLU()})
    >>> layers["act"]
    ReLU()
    """

    def __init__(self, modules: Pairs[Module] | None = None):
        super().__init__()
        if modules is not None:
            self.update(modules)

    def __getitem__(self, key: str) -> Module:
        found: Module = self._modules[key]
        return found

    def __setitem__(self, key: str, module: Module) -> None:
        self.add_module(key, module)

    def __delitem__(self, key: str) -> None:
        structure.remove(self._modules, key)

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, key: object) -> bool:
        return key in self._modules

    def clear(self) -> None:
        """Remove every module."""
        structure.moved()
        self._modules.clear()

    def pop(self, key: str) -> Module:
        """Remove a module and return it."""
        found = self[key]
        del self[key]
        return found

    def keys(self) -> Iterable[str]:
        return self._modules.keys()

    def items(self) -> Iterable[tuple[str, Any]]:
        return self._modules.items()

    def values(self) -> Iterable[Any]:
        return self._modules.values()

    def update(self, modules: Pairs[Module]) -> None:
        """Add modules from a mapping or from (name, module) pairs."""
        for key, module in _pairs("ModuleDict", modules):
            self[key] = module


def _as_parameter(value: Any) -> Any:
    """Tensors become parameters, as in torch; anything else stays what it is."""
    return Parameter(value) if isinstance(value, Tensor) and not isinstance(value, Parameter) else value


class ParameterList(Module):
    """A list of parameters, all of which are registered; other values are kept as they are.

    >>> weights = fb.nn.ParameterList([fb.ones(2), fb.ones(3)])
    >>> [p.shape for p in weights.parameters()]
    [flambeau.Size([2]), flambeau.Size([3])]
    """

    def __init__(self, values: Iterable[Any] | None = None):
        super().__init__()
        self._size = 0
        self.extend(values or ())

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Any]:
        return iter(self[i] for i in range(len(self)))

    def __getitem__(self, i: int | slice) -> Any:  # Any: other values are kept as they are
        if isinstance(i, slice):
            return ParameterList(self[j] for j in range(*i.indices(len(self))))
        return getattr(self, self._name(i))

    def __setitem__(self, i: int, value: object) -> None:
        setattr(self, self._name(i), _as_parameter(value))

    def _name(self, i: int) -> str:
        n = len(self)
        if not -n <= i < n:
            raise IndexError(f"ParameterList: index {i} is out of range for {n} values")
        return str(i % n)

    _get_abs_string_index = _name

    def append(self, value: object) -> Self:
        """Add a value at the end."""
        setattr(self, str(self._size), _as_parameter(value))
        self._size += 1
        return self

    def extend(self, values: Iterable[Any]) -> Self:
        """Add values at the end."""
        for v in list(values):
            self.append(v)
        return self

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)

    def extra_repr(self) -> str:
        return "\n".join(f"  ({i}): {_described(v, str(getattr(v, 'dtype', '')))}" for i, v in enumerate(self))

    def forward(self, *args: object, **kwargs: object) -> NoReturn:
        raise RuntimeError("ParameterList should not be called.")


class ParameterDict(Module):
    """A dict of parameters, all of which are registered; other values are kept as they are.

    >>> weights = fb.nn.ParameterDict({"a": fb.ones(2)})
    >>> [name for name, _ in weights.named_parameters()]
    ['a']
    """

    def __init__(self, parameters: Pairs[Any] | None = None):
        super().__init__()
        self._names: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def __getitem__(self, key: str) -> Any:  # Any: as in ParameterList
        if key not in self._names:
            raise KeyError(key)
        return getattr(self, key)

    def __setitem__(self, key: str, value: object) -> None:
        if not isinstance(key, str):
            raise TypeError(f"ParameterDict: a name must be a str, got {key!r} ({type(key).__name__})")
        setattr(self, key, _as_parameter(value))
        self._names[key] = None

    def __delitem__(self, key: str) -> None:
        del self._names[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __contains__(self, key: object) -> bool:
        return key in self._names

    def keys(self) -> Iterable[str]:
        return self._names.keys()

    def values(self) -> Iterable[Any]:
        return [self[k] for k in self._names]

    def items(self) -> Iterable[tuple[str, Any]]:
        return [(k, self[k]) for k in self._names]

    def __reversed__(self) -> Iterator[str]:
        return reversed(self._names)

    def __or__(self, other: Pairs[Any]) -> ParameterDict:
        both = self.copy()
        both.update(other)
        return both

    def __ior__(self, other: Pairs[Any]) -> Self:
        self.update(other)
        return self

    def copy(self) -> ParameterDict:
        """A ParameterDict of the same parameters."""
        return ParameterDict(self.items())

    def clear(self) -> None:
        """Remove every value."""
        for key in list(self._names):
            del self[key]

    def setdefault(self, key: str, default: object = None) -> Any:  # Any: as in ParameterList
        """The value under ``key``, which is ``default`` from now on if there was none."""
        if key not in self:
            self[key] = default
        return self[key]

    def fromkeys(self, keys: Iterable[str], default: object = None) -> ParameterDict:
        """A ParameterDict with ``default`` under each of ``keys``."""
        return ParameterDict((k, default) for k in keys)

    def popitem(self) -> tuple[str, Any]:
        """Remove the value that was added last and return it with its name."""
        if not self._names:
            raise KeyError("ParameterDict.popitem: it is empty")
        key = next(reversed(self._names))
        return key, self.pop(key)

    def get(self, key: str, default: object = None) -> Any:  # Any: as in ParameterList
        """The value under ``key``, or ``default``."""
        return self[key] if key in self._names else default

    def pop(self, key: str) -> Any:  # Any: as in ParameterList
        """Remove a value and return it."""
        found = self[key]
        del self[key]
        return found

    def update(self, parameters: Pairs[Any]) -> None:
        """Add values from a mapping or from (name, value) pairs."""
        for key, value in parameters.items() if isinstance(parameters, Mapping | ParameterDict) else parameters:
            self[key] = value

    def extra_repr(self) -> str:
        return "\n".join(f"  ({k}): {_described(v, typename(v))}" for k, v in self.items())

    def forward(self, *args: object, **kwargs: object) -> NoReturn:
        raise RuntimeError("ParameterDict should not be called.")


def _described(value: object, kind: str) -> str:
    """A value of a list or dict of parameters; ``kind`` is what a tensor holds: torch names it in two ways."""
    if not isinstance(value, Tensor):
        return f"Object of type: {type(value).__name__}"
    held = "Parameter" if isinstance(value, Parameter) else "Tensor"
    return f"{held} containing: [{kind} of size {'x'.join(map(str, value.shape))}]"
