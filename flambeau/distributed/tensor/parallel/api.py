"""A plan names modules and says for each how it is divided."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch

from flambeau.distributed.device_mesh import DeviceMesh
from flambeau.distributed.groups import Group
from flambeau.distributed.process_group import ProcessGroup
from flambeau.distributed.tensor.layers import joined
from flambeau.distributed.tensor.parallel.style import ParallelStyle
from flambeau.nn.module import Module


def parallelize_module(
    module: Module, device_mesh: DeviceMesh | Group = None,
    parallelize_plan: ParallelStyle | Mapping[str, ParallelStyle] | None = None, *, src_data_rank: int | None = 0,
) -> Module:  # fmt: skip
    """Divide a module, or those of its parts that a plan names, among the ranks of a mesh of one dimension.

    The modules are changed in place and go on taking and giving plain tensors, this rank's parts.

    Args:
        module: what is divided, the same on all ranks.
        device_mesh: a mesh of one dimension, or a group; None: all ranks.
        parallelize_plan: how, for the module itself, or by path of its parts; each name in a path may have ``*``.
        src_data_rank: the rank of the group whose values all ranks get; None: each keeps its own.

    Raises:
        ValueError: a mesh of several dimensions; sizes that do not divide evenly.
        NotImplementedError: a kind of module that the style cannot divide.
        TypeError: a plan that is neither a style nor a dict of styles.
    """
    group = _group(device_mesh)
    if parallelize_plan is None:
        warnings.warn("parallelize_module: there is no plan, so the module stays as it is", stacklevel=2)
        return module
    if isinstance(parallelize_plan, ParallelStyle):
        return parallelize_plan.apply(module, group, src_data_rank)
    if not isinstance(parallelize_plan, Mapping):
        raise TypeError(f"parallelize_module: parallelize_plan must be a ParallelStyle or a dict of them, got "
                        f"{type(parallelize_plan).__name__}")  # fmt: skip
    for path, style in parallelize_plan.items():
        if not isinstance(style, ParallelStyle):
            raise TypeError(f"parallelize_module: the plan for {path!r} must be a ParallelStyle, got {style!r}")
        found = list(_named(module, path.split("."))) if path else [("", module)]
        if not found:
            warnings.warn(f"parallelize_module: the model has no module {path!r}", stacklevel=2)
        for name, part in found:
            try:
                style.apply(part, group, src_data_rank)
            except (ValueError, NotImplementedError) as error:
                raise type(error)(f"parallelize_module: {name!r}: {error}") from error
    return module


def _group(mesh: DeviceMesh | Group) -> ProcessGroup:
    """The group of a mesh."""
    if not isinstance(mesh, DeviceMesh):
        return joined(mesh, "parallelize_module")
    if mesh.ndim != 1:
        raise ValueError(f"parallelize_module: device_mesh must have one dimension, got {mesh.ndim}; take one by name")
    return mesh.get_group()


def _named(module: Module, path: list[str], before: str = "") -> Iterator[tuple[str, Module]]:
    """The modules below one whose path fits, name by name."""
    for name, child in module.named_children():
        if fnmatch(name, path[0]):
            where = f"{before}{name}"
            if len(path) == 1:
                yield where, child
            else:
                yield from _named(child, path[1:], f"{where}.")
