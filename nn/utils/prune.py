"""Pruning: some elements of a parameter are held at 0 by a mask.

A pruned ``weight`` is ``weight_orig`` (trained) times ``weight_mask`` (a buffer), multiplied before each forward.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from flambeau.core.capture import structure
from flambeau.core.errors import OptionError
from flambeau.core.ops.joining import cat
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.nn.module import Module

__all__ = [
    "BasePruningMethod", "CustomFromMask", "Identity", "L1Unstructured", "LnStructured", "PruningContainer",
    "RandomStructured", "RandomUnstructured", "custom_from_mask", "global_unstructured", "identity", "is_pruned",
    "l1_unstructured", "ln_structured", "random_structured", "random_unstructured", "remove",
]  # fmt: skip

Amount = int | float


class BasePruningMethod(ABC):
    """A way to choose what is pruned: ``compute_mask(t, default_mask)`` gives the new mask; ``apply`` uses it.

    ``PRUNING_TYPE`` says what a second pruning of one tensor looks at: "unstructured", the elements that are left,
    "structured", the slices that are left, "global", all.
    """

    PRUNING_TYPE: str = "unstructured"
    _tensor_name: str

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask for ``t``, of which ``default_mask`` hides some already."""

    def apply_mask(self, module: Module) -> Tensor:
        """The original times its mask."""
        mask, original = getattr(module, f"{self._tensor_name}_mask"), getattr(module, f"{self._tensor_name}_orig")
        found: Tensor = mask.to(original.dtype) * original
        return found

    @classmethod
    def apply(
        cls, module: Module, name: str, *args: Any, importance_scores: Tensor | None = None, **kwargs: Any
    ) -> BasePruningMethod:
        """Prune a parameter of a module, further if it is pruned already; the method, or the container of all."""
        method: BasePruningMethod = cls(*args, **kwargs)
        method._tensor_name = name
        old = _of(module, name)
        if old is not None:
            key, earlier = old
            structure.remove(module._forward_pre_hooks, key)
            container = PruningContainer(earlier)
            container.add_pruning_method(method)
            method = container
            original = getattr(module, f"{name}_orig")
            default = getattr(module, f"{name}_mask").detach().clone()
        else:
            original = getattr(module, name)
            default = original.detach().new_ones(tuple(original.shape))
        if importance_scores is not None and tuple(importance_scores.shape) != tuple(original.shape):
            raise OptionError(
                f"importance_scores of shape {tuple(importance_scores.shape)} must have that of parameter {name!r}, "
                f"{tuple(original.shape)}"
            )
        with no_grad():
            present = original if old is None else original * default  # what is pruned already counts as 0
            mask = method.compute_mask(present if importance_scores is None else importance_scores, default)
        if old is None:
            delattr(module, name)
            module.register_parameter(f"{name}_orig", original)
            module.register_buffer(f"{name}_mask", mask)
        else:
            setattr(module, f"{name}_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def prune(self, t: Tensor, default_mask: Tensor | None = None, importance_scores: Tensor | None = None) -> Tensor:
        """A tensor with what the method chooses at 0; no module is touched."""
        scores = t if importance_scores is None else importance_scores
        if tuple(scores.shape) != tuple(t.shape):
            raise OptionError(f"importance_scores {tuple(scores.shape)} must have the shape of t, {tuple(t.shape)}")
        default = t.detach().new_ones(tuple(t.shape)) if default_mask is None else default_mask
        return t * self.compute_mask(scores.detach(), default)

    def remove(self, module: Module) -> None:
        """Make the pruned tensor an ordinary parameter, its elements as they are now."""
        name = self._tensor_name
        weight = self.apply_mask(module).detach()
        original = module._parameters[f"{name}_orig"]
        assert original is not None
        original.data = weight
        for part in ("", "_orig", "_mask"):
            delattr(module, name + part)
        setattr(module, name, original)


def _of(module: Module, name: str) -> tuple[int, BasePruningMethod] | None:
    """The pruning of a parameter, and its key among the hooks."""
    found = module._forward_pre_hooks.items()
    return next(((k, h) for k, h in found if isinstance(h, BasePruningMethod) and h._tensor_name == name), None)


class PruningContainer(BasePruningMethod):
    """Several prunings of one tensor, one after another."""

    def __init__(self, *args: BasePruningMethod | Iterable[BasePruningMethod]):
        self._pruning_methods: tuple[Any, ...] = ()
        methods = args if len(args) != 1 or isinstance(args[0], BasePruningMethod) else tuple(args[0])
        if methods:
            self._tensor_name = methods[0]._tensor_name  # type: ignore[union-attr]
        for method in methods:
            if isinstance(method, PruningContainer):
                self._pruning_methods += method._pruning_methods
            else:
                self.add_pruning_method(method)

    def add_pruning_method(self, method: Any) -> None:
        """Add a method, which must be for the same tensor."""
        if not isinstance(method, BasePruningMethod) and method is not None:
            raise TypeError(f"{type(method).__name__} is not a BasePruningMethod subclass")
        if method is not None and self._tensor_name != method._tensor_name:
            raise ValueError(
                f"Can only add pruning methods acting on the parameter named {self._tensor_name!r}, got one for "
                f"{method._tensor_name!r}"
            )
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Iterator[BasePruningMethod]:
        return iter(self._pruning_methods)

    def __getitem__(self, idx: int) -> BasePruningMethod:
        found: BasePruningMethod = self._pruning_methods[idx]
        return found

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask of the last method, of what those before it left, and of theirs."""
        method: BasePruningMethod = self._pruning_methods[-1]
        mask = default_mask.to(t.dtype)
        if method.PRUNING_TYPE == "global":
            return method.compute_mask(t, mask).to(mask.dtype)
        if method.PRUNING_TYPE == "structured":
            axis = _axis(t, getattr(method, "dim", -1))
            kept = (mask.movedim(axis, 0).flatten(1) != 0).any(1).nonzero().squeeze(1)
            part = method.compute_mask(t.index_select(axis, kept), mask.index_select(axis, kept))
            return mask.index_copy(axis, kept, part.to(mask.dtype))
        if method.PRUNING_TYPE != "unstructured":
            raise ValueError(f"Unrecognized PRUNING_TYPE {method.PRUNING_TYPE}")
        at = (mask == 1).flatten().nonzero().squeeze(1)
        part = method.compute_mask(t.flatten().index_select(0, at), mask.flatten().index_select(0, at))
        return mask.flatten().index_copy(0, at, part.to(mask.dtype)).reshape(tuple(t.shape))


# -- how much ------------------------------------------------------------------------------------------
def _check_amount(amount: Any) -> None:
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    if amount < 0 or isinstance(amount, float) and amount > 1:
        raise ValueError(f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer")


def _count(amount: Amount, size: int) -> int:
    """How many of ``size`` to prune: a number, or a share of them."""
    if isinstance(amount, float):
        return round(amount * size)
    if amount > size:
        raise ValueError(f"amount={amount} should be smaller than the number of parameters to prune={size}")
    return amount


def _axis(t: Tensor, dim: int) -> int:
    if t.ndim <= 1:
        raise ValueError(
            f"Structured pruning can only be applied to multidimensional tensors. Found tensor of shape "
            f"{tuple(t.shape)} with {t.ndim} dims"
        )
    if not -t.ndim <= dim < t.ndim:
        raise IndexError(f"Invalid index {dim} for tensor of size {tuple(t.shape)}")
    return dim % t.ndim


def _without(mask: Tensor, places: Tensor) -> Tensor:
    """A mask with these places of its flattened elements at 0."""
    return mask.flatten().index_fill(0, places, 0).reshape(tuple(mask.shape))


# -- the methods -----------------------------------------------------------------------------------------
class Identity(BasePruningMethod):
    """Prune nothing: a mask of ones."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask as it is."""
        return default_mask


class RandomUnstructured(BasePruningMethod):
    """Prune ``amount`` elements, a number or a share, chosen by chance."""

    PRUNING_TYPE = "unstructured"

    def __init__(self, amount: Amount):
        _check_amount(amount)
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask with as many more zeros."""
        count = _count(self.amount, t.numel())
        if not count:
            return default_mask.clone()
        return _without(default_mask, t.detach().new_empty(t.numel()).uniform_().topk(count).indices)


class L1Unstructured(BasePruningMethod):
    """Prune the ``amount`` elements of smallest absolute value."""

    PRUNING_TYPE = "unstructured"

    def __init__(self, amount: Amount):
        _check_amount(amount)
        self.amount = amount

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask with as many more zeros."""
        count = _count(self.amount, t.numel())
        if not count:
            return default_mask.clone()
        return _without(default_mask, t.detach().abs().flatten().topk(count, largest=False).indices)


class _Structured(BasePruningMethod):
    PRUNING_TYPE = "structured"
    amount: Amount
    dim: int

    def _importance(self, slices: Tensor) -> Tensor:
        """A number for each row of (slices, elements); the smallest are pruned."""
        raise NotImplementedError

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """The mask with as many more slices at 0."""
        axis = _axis(t, self.dim)
        count = _count(self.amount, t.shape[axis])
        if not count:
            return default_mask.clone()
        pruned = self._importance(t.detach().movedim(axis, 0).flatten(1)).topk(count, largest=False).indices
        return default_mask.index_fill(axis, pruned, 0)


class RandomStructured(_Structured):
    """Prune ``amount`` slices along axis ``dim``, chosen by chance."""

    def __init__(self, amount: Amount, dim: int = -1):
        _check_amount(amount)
        self.amount, self.dim = amount, dim

    def _importance(self, slices: Tensor) -> Tensor:
        return slices.new_empty(slices.shape[0]).uniform_()


class LnStructured(_Structured):
    """Prune the ``amount`` slices along axis ``dim`` of smallest ``n``-norm."""

    def __init__(self, amount: Amount, n: float | str, dim: int = -1):
        _check_amount(amount)
        self.amount, self.n, self.dim = amount, n, dim

    def _importance(self, slices: Tensor) -> Tensor:
        return slices.norm(2 if self.n == "fro" else float(self.n), 1)


class CustomFromMask(BasePruningMethod):
    """Prune what a mask of one's own says."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor):
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Tensor:
        """Both masks together."""
        if tuple(self.mask.shape) != tuple(default_mask.shape):
            raise OptionError(f"mask {tuple(self.mask.shape)} must have the shape {tuple(default_mask.shape)}")
        return default_mask * self.mask.to(default_mask.dtype)


# -- as functions ----------------------------------------------------------------------------------------
def identity(module: Module, name: str) -> Module:
    """Put a mask of ones over a parameter.

    >>> list(fb.nn.utils.prune.identity(fb.nn.Linear(2, 1), "weight").state_dict())
    ['bias', 'weight_orig', 'weight_mask']
    """
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: Amount) -> Module:
    """Prune ``amount`` elements of a parameter, a number or a share, chosen by chance.

    >>> layer = fb.nn.utils.prune.random_unstructured(fb.nn.Linear(2, 2), "weight", 3)
    >>> (layer.weight == 0).sum()
    tensor(3)
    """
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: Module, name: str, amount: Amount, importance_scores: Tensor | None = None) -> Module:
    """Prune the ``amount`` elements of a parameter of smallest absolute value, or of smallest scores.

    >>> layer = fb.nn.utils.prune.l1_unstructured(fb.nn.Linear(2, 2), "weight", 0.5)
    >>> (layer.weight == 0).sum()
    tensor(2)
    """
    L1Unstructured.apply(module, name, amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: Amount, dim: int) -> Module:
    """Prune ``amount`` slices of a parameter along axis ``dim``, chosen by chance.

    >>> layer = fb.nn.utils.prune.random_structured(fb.nn.Linear(2, 4), "weight", 1, dim=0)
    >>> (layer.weight == 0).all(1).sum()
    tensor(1)
    """
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(
    module: Module, name: str, amount: Amount, n: float | str, dim: int, importance_scores: Tensor | None = None
) -> Module:
    """Prune the ``amount`` slices of a parameter along axis ``dim`` of smallest ``n``-norm.

    >>> layer = fb.nn.utils.prune.ln_structured(fb.nn.Linear(2, 4), "weight", 1, n=2, dim=0)
    >>> (layer.weight == 0).all(1).sum()
    tensor(1)
    """
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def global_unstructured(
    parameters: Iterable[tuple[Module, str]], pruning_method: type[BasePruningMethod],
    importance_scores: dict[tuple[Module, str], Tensor] | None = None, **kwargs: Any,
) -> None:  # fmt: skip
    """Prune the parameters of (module, name) pairs as if they were one vector.

    >>> a, b = fb.nn.Linear(2, 2), fb.nn.Linear(2, 2)
    >>> prune = fb.nn.utils.prune
    >>> prune.global_unstructured([(a, "weight"), (b, "weight")], prune.L1Unstructured, amount=5)
    >>> (a.weight == 0).sum() + (b.weight == 0).sum()
    tensor(5)
    """
    pairs, scores = list(parameters), importance_scores or {}
    if not all(isinstance(p, tuple) and len(p) == 2 for p in pairs):
        raise TypeError("global_unstructured: parameters must be a list of (module, name) pairs")
    tensors = [scores[m, n] if (m, n) in scores else getattr(m, n) for m, n in pairs]
    flat = cat([t.detach().flatten() for t in tensors])
    masks = [getattr(m, f"{n}_mask", t.detach().new_ones(tuple(t.shape)))
             for (m, n), t in zip(pairs, tensors, strict=True)]  # fmt: skip
    container = PruningContainer()
    container._tensor_name = "all"
    method = pruning_method(**kwargs)
    method._tensor_name = "all"
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            f"global_unstructured: only unstructured methods go over several parameters, got {pruning_method.__name__}"
        )
    container.add_pruning_method(method)
    found = container.compute_mask(flat, cat([m.flatten() for m in masks]))
    at = 0
    for (module, name), mask in zip(pairs, masks, strict=True):
        custom_from_mask(module, name, found[at : at + mask.numel()].reshape(tuple(mask.shape)))
        at += mask.numel()


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Module:
    """Prune a parameter as a mask says.

    >>> layer = fb.nn.utils.prune.custom_from_mask(fb.nn.Linear(2, 1), "weight", fb.tensor([[1, 0]]))
    >>> layer.weight_mask
    tensor([[1., 0.]])
    """
    CustomFromMask.apply(module, name, mask)
    return module


def remove(module: Module, name: str) -> Module:
    """Make a pruned parameter an ordinary one, its elements as they are now.

    >>> prune = fb.nn.utils.prune
    >>> list(prune.remove(prune.identity(fb.nn.Linear(2, 1), "weight"), "weight").state_dict())
    ['bias', 'weight']
    """
    found = _of(module, name)
    if found is None:
        raise ValueError(
            f"Parameter {name!r} of module {type(module).__name__} has to be pruned before pruning can be removed"
        )
    key, method = found
    method.remove(module)
    structure.remove(module._forward_pre_hooks, key)
    return module


def is_pruned(module: Module) -> bool:
    """Whether a parameter of a module or below it is pruned.

    >>> fb.nn.utils.prune.is_pruned(fb.nn.Linear(2, 1))
    False
    """
    return any(isinstance(h, BasePruningMethod) for m in module.modules() for h in m._forward_pre_hooks.values())
