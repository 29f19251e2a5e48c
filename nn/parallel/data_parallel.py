"""One module run on parts of a batch, each on a device of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flambeau.core import registry
from flambeau.core.device import device as Device
from flambeau.core.ops.joining import cat, stack
from flambeau.core.tensor import Tensor
from flambeau.core.tree import flatten, unflatten
from flambeau.nn.module import Module

Where = int | str | Device


def _devices(module: Module, ids: Sequence[Where] | None) -> list[Device]:
    """The devices of these numbers, of the type that the module is on; by default all of them, but for the host."""
    at = next((t.device for t in (*module.parameters(), *module.buffers())), None)
    if ids is None:
        if at is None or at.type == "cpu":
            return []
        return [Device(at.type, i) for i in range(registry.get_backend(at.type).device_count())]
    kind = "cpu" if at is None else at.type
    return [Device(kind, i) if isinstance(i, int) else Device(i) for i in ids]


def scatter(inputs: Any, target_gpus: Sequence[Where], dim: int = 0) -> list[Any]:  # Any: tensors in any nesting
    """The tensors of nested containers cut along ``dim`` into as many parts as devices, each part on its device."""
    devices = [Device(d) if not isinstance(d, Device) else d for d in target_gpus]
    leaves, structure = flatten(inputs)
    count = min((t.shape[dim] for t in leaves if isinstance(t, Tensor) and t.ndim), default=len(devices))
    used = devices[: max(1, min(count, len(devices)))]
    rows = [
        [part.to(d) for part, d in zip(_cut(v, len(used), dim), used, strict=True)]
        if isinstance(v, Tensor) and v.ndim else [v] * len(used)
        for v in leaves
    ]  # fmt: skip
    return [unflatten([row[i] for row in rows], structure) for i in range(len(used))]


def _cut(t: Tensor, parts: int, dim: int) -> Sequence[Tensor]:
    return t.tensor_split(parts, dim)


def replicate(network: Module, devices: Sequence[Where], detach: bool = False) -> list[Any]:
    """Copies of a module on each device; gradients of the copies' parameters reach the module's own."""
    found = []
    for where in devices:
        copies: dict[int, Any] = {}
        for m in network.modules():
            copies[id(m)] = m._replicate_for_data_parallel()
        for m in network.modules():
            made = copies[id(m)]
            for name, p in m._parameters.items():
                made._parameters[name] = None if p is None else (p.detach() if detach else p).to(where)
            for name, b in m._buffers.items():
                made._buffers[name] = None if b is None else b.to(where)
            for name, child in m._modules.items():
                made._modules[name] = None if child is None else copies[id(child)]
        found.append(copies[id(network)])
    return found


def parallel_apply(
    modules: Sequence[Module], inputs: Sequence[Any], kwargs_tup: Sequence[dict[str, Any]] | None = None,
    devices: Sequence[Where] | None = None,
) -> list[Any]:  # fmt: skip
    """Each module on its arguments. Devices work side by side where their queues do: nothing waits in between."""
    found = []
    rows = zip(modules, inputs, kwargs_tup or [{}] * len(modules), strict=True)
    for i, (module, args, kwargs) in enumerate(rows):
        try:
            found.append(module(*(args if isinstance(args, tuple) else (args,)), **kwargs))
        except Exception as error:
            error.add_note(f"in replica {i}" + (f" on device {devices[i]}" if devices else ""))
            raise
    return found


def gather(outputs: Sequence[Any], target_device: Where, dim: int = 0) -> Any:  # Any: as the outputs are
    """The parts of results joined along ``dim`` on one device; numbers become a vector."""
    rows = [flatten(out) for out in outputs]
    joined = []
    for parts in zip(*(leaves for leaves, _ in rows), strict=True):
        if isinstance(parts[0], Tensor):
            moved = [p.to(target_device) for p in parts]
            joined.append(cat(moved, dim) if moved[0].ndim else stack(moved))
        else:
            joined.append(parts[0])
    return unflatten(joined, rows[0][1])


def _require_on(module: Module, first: Device) -> None:
    """RuntimeError where a parameter or buffer is elsewhere: its gradient would be, too."""
    for name, t in (*module.named_parameters(), *module.named_buffers()):
        if (t.device.type, t.device.index or 0) != (first.type, first.index or 0):
            raise RuntimeError(
                f"module must have its parameters and buffers on device {first} (device_ids[0]) but found one of them "
                f"on device: {t.device} ({name})"
            )


def _run(
    module: Module, devices: Sequence[Device], output: Where | None, dim: int, args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:  # fmt: skip
    parts = scatter((args, kwargs), devices, dim) if devices else []
    if len(parts) <= 1:
        if parts:
            args, kwargs = parts[0]
        return module(*args, **kwargs)
    _require_on(module, devices[0])
    copies = replicate(module, devices[: len(parts)])
    outputs = parallel_apply(copies, [p[0] for p in parts], [p[1] for p in parts], devices)
    return gather(outputs, devices[0] if output is None else output, dim)


class DataParallel(Module):
    """A module that runs on parts of its batch, one on each device of the type that it is on, and joins the results.

    On one device, or on the host, it is the module itself. ``device_ids`` chooses devices, by numbers of that type or
    by names, which may be of different backends: ``["cpu", "opencl:0"]``. Parameters stay on the first of them, where
    their gradients are added up; results come to ``output_device``, by default the first too. RuntimeError for a module
    that is not on the first.

    >>> fb.nn.DataParallel(fb.nn.Linear(2, 3))(fb.ones(4, 2)).shape
    flambeau.Size([4, 3])
    """

    module: Module

    def __init__(
        self, module: Module, device_ids: Sequence[Where] | None = None, output_device: Where | None = None,
        dim: int = 0,
    ):  # fmt: skip
        super().__init__()
        self.module, self.dim = module, dim
        self._devices = _devices(module, device_ids)
        several = len({d.type for d in self._devices}) > 1
        self.device_ids = list(self._devices) if several else [d.index or 0 for d in self._devices]
        kind = self._devices[0].type if self._devices else "cpu"
        self.output_device = Device(kind, output_device) if isinstance(output_device, int) else output_device

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:  # Any: as the module's
        """What the module gives for the whole batch."""
        return _run(self.module, self._devices, self.output_device, self.dim, inputs, kwargs)


def data_parallel(
    module: Module, inputs: Any, device_ids: Sequence[Where] | None = None, output_device: Where | None = None,
    dim: int = 0, module_kwargs: dict[str, Any] | None = None,
) -> Any:  # Any: as the module's  # fmt: skip
    """:class:`DataParallel` for one call.

    >>> fb.nn.parallel.data_parallel(fb.nn.Linear(2, 3), fb.ones(4, 2)).shape
    flambeau.Size([4, 3])
    """
    args = inputs if isinstance(inputs, tuple) else (inputs,)
    return _run(module, _devices(module, device_ids), output_device, dim, args, module_kwargs or {})
