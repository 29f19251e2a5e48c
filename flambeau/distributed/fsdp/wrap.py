"""Which modules of a model become groups of their own, for FullyShardedDataParallel."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flambeau.nn.container import ModuleDict, ModuleList
from flambeau.nn.module import Module
from flambeau.nn.multihead import MultiheadAttention as _Attention

__all__ = [
    "ModuleWrapPolicy", "always_wrap_policy", "size_based_auto_wrap_policy",
    "transformer_auto_wrap_policy",
]  # fmt: skip

#: ``policy(module, recurse, nonwrapped_numel)``: whether to go on below a module, or (recurse False) to wrap it.
Policy = Callable[..., bool]


class ModuleWrapPolicy:
    """Modules of these classes become groups.

    >>> policy = ModuleWrapPolicy({fb.nn.Linear})
    >>> policy(fb.nn.Linear(1, 1), False)
    True
    """

    def __init__(self, module_classes: Iterable[type[Module]]):
        self._classes = tuple(module_classes)

    def __call__(self, module: Module, recurse: bool, *args: Any, **kwargs: Any) -> bool:
        return recurse or isinstance(module, self._classes)


def always_wrap_policy(*args: Any, **kwargs: Any) -> bool:
    """Every module becomes a group."""
    return True


def transformer_auto_wrap_policy(
    module: Module, recurse: bool, nonwrapped_numel: int, transformer_layer_cls: set[type[Module]]
) -> bool:
    """Modules of the classes of a transformer's layers become groups."""
    return recurse or isinstance(module, tuple(transformer_layer_cls))


def size_based_auto_wrap_policy(
    module: Module, recurse: bool, nonwrapped_numel: int, min_num_params: int = 100_000_000,
    force_leaf_modules: set[type[Module]] | None = None, exclude_wrap_modules: set[type[Module]] | None = None,
) -> bool:  # fmt: skip
    """Modules with at least ``min_num_params`` elements of parameters that no module in them has taken.

    ``force_leaf_modules`` are classes in which nothing is wrapped (MultiheadAttention if None), and
    ``exclude_wrap_modules`` those that are not wrapped themselves (ModuleList and ModuleDict if None).
    """
    leaves = {_Attention} if force_leaf_modules is None else force_leaf_modules
    excluded = {ModuleList, ModuleDict} if exclude_wrap_modules is None else exclude_wrap_modules
    if recurse:
        return nonwrapped_numel >= min_num_params and not isinstance(module, tuple(leaves))
    return nonwrapped_numel >= min_num_params and not isinstance(module, tuple(excluded))


def chosen(root: Module, policy: Policy | ModuleWrapPolicy, ignored: set[int]) -> list[Module]:
    """The modules below ``root`` that a policy wraps, inner ones first; ``ignored`` are ids of modules left alone."""
    found: list[Module] = []

    def visit(module: Module) -> int:
        """How many elements of the module's parameters are in groups afterwards."""
        total = sum(p.numel() for p in module.parameters())
        taken = 0
        if policy(module=module, recurse=True, nonwrapped_numel=total):
            taken = sum(visit(child) for child in module.children() if id(child) not in ignored)
        if module is not root and policy(module=module, recurse=False, nonwrapped_numel=total - taken):
            found.append(module)
            return total
        return taken

    visit(root)
    return list(dict.fromkeys(found))
