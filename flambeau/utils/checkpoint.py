"""Checkpointing: memory for time. Backward runs a part of the forward again instead of keeping its values.

T. Chen, B. Xu, C. Zhang and C. Guestrin, "Training deep nets with sublinear memory cost", arXiv:1604.06174.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from typing import Any, Literal, TypeVar

from flambeau.core.accelerator import current_accelerator
from flambeau.core.autocast import under
from flambeau.core.autograd.api import backward as run_backward
from flambeau.core.autograd.function import Function
from flambeau.core.blame import checking, explain_functions, users_level
from flambeau.core.dtype import DType
from flambeau.core.errors import GradientError
from flambeau.core.generator import default_generator, fork_rng
from flambeau.core.keys import Key
from flambeau.core.record import Op
from flambeau.core.state import current, enable_grad, no_grad, watch
from flambeau.core.tape.modes import saved_tensors_hooks
from flambeau.core.tensor import Tensor
from flambeau.nn.module import Module
from flambeau.utils.checkpoint_policies import (
    SAC_IGNORED_OPS,
    CheckpointPolicy,
    SelectiveCheckpointContext,
    create_selective_checkpoint_contexts,
)  # fmt: skip

__all__ = [
    "SAC_IGNORED_OPS", "CheckpointError", "CheckpointFunction", "CheckpointPolicy", "DefaultDeviceType",
    "GraphExecGroup", "SelectiveCheckpointContext", "check_backward_validity", "checkpoint", "checkpoint_sequential",
    "create_selective_checkpoint_contexts", "detach_variable", "get_device_states", "noop_context_fn",
    "set_checkpoint_debug_enabled", "set_checkpoint_early_stop", "set_device_states",
]  # fmt: skip

T = TypeVar("T")
Context = contextlib.AbstractContextManager[Any]
_early_stop: ContextVar[bool | None] = ContextVar("flambeau_checkpoint_early_stop", default=None)
_debug: ContextVar[bool | None] = ContextVar("flambeau_checkpoint_debug", default=None)


class CheckpointError(GradientError):
    """The function computed something else when it ran again."""


def noop_context_fn() -> tuple[Context, Context]:
    """Two contexts that change nothing.

    >>> first, again = fb.utils.checkpoint.noop_context_fn()
    """
    return contextlib.nullcontext(), contextlib.nullcontext()


def checkpoint(
    function: Callable[..., T], *args: object, use_reentrant: bool | None = None,
    context_fn: Callable[[], tuple[Context, Context]] = noop_context_fn, preserve_rng_state: bool = True,
    determinism_check: Literal["default", "none"] = "default", debug: bool = False, early_stop: bool = True,
    **kwargs: object,
) -> T:  # fmt: skip
    """``function(*args, **kwargs)``, of which backward computes again what it needs.

    Args:
        function: must compute the same when it is called again.
        use_reentrant: True takes no keywords, ``context_fn`` or ``debug``, warns where no argument wants a gradient,
            and then records nothing, as PyTorch's older form; otherwise both forms are one, which also serves
            ``autograd.grad``.
        context_fn: gives two context managers, for the forward and for the time that it runs again.
        preserve_rng_state: the second run draws the random numbers of the first, so that dropout is the same.
        determinism_check: "default" raises when the second run keeps values of other shapes or dtypes; "none".
        debug: the error then lists the ops of both runs.
        early_stop: the second run ends where all is there that backward wants.

    Raises:
        CheckpointError: in backward, the function computed something else when it ran again.

    >>> x = fb.tensor(1.0, requires_grad=True)
    >>> checkpoint(lambda t: t.exp().square(), x).backward()
    >>> round(x.grad.item(), 3)
    14.778
    """
    if determinism_check not in ("default", "none"):
        raise ValueError(f"checkpoint: determinism_check must be 'default' or 'none', got {determinism_check!r}")
    if use_reentrant:
        if kwargs:
            raise ValueError(f"checkpoint: Unexpected keyword arguments with use_reentrant=True: {','.join(kwargs)}")
        if context_fn is not noop_context_fn or debug:
            raise ValueError("checkpoint: Passing `context_fn` or `debug` is only supported when use_reentrant=False.")
        check_backward_validity(args)
        if not any(isinstance(a, Tensor) and a.requires_grad for a in args):
            with no_grad():
                return function(*args)
    first, again = context_fn()
    stop, shown = _early_stop.get(), _debug.get()
    frame = _Frame(
        lambda: function(*args, **kwargs), again, default_generator.state if preserve_rng_state else None,
        determinism_check == "default", early_stop if stop is None else stop, debug if shown is None else shown,
    )  # fmt: skip
    with frame.noting(frame.ops), first, saved_tensors_hooks(frame.pack, frame.unpack):
        return function(*args, **kwargs)


def checkpoint_sequential(
    functions: Module | Iterable[Callable[[T], T]], segments: int, input: T, use_reentrant: bool | None = None,
    preserve_rng_state: bool = True,
) -> T:  # fmt: skip
    """A Sequential, or a list of functions, in ``segments`` parts of which all but the last are checkpointed."""
    steps: list[Callable[[T], T]] = list(functions.children() if isinstance(functions, Module) else functions)
    if not 1 <= segments <= len(steps):
        raise ValueError(f"checkpoint_sequential: segments must be from 1 to {len(steps)}, got {segments}")
    size = len(steps) // segments

    def run(start: int, stop: int) -> Callable[[T], T]:
        def part(value: T) -> T:
            for step in steps[start:stop]:
                value = step(value)
            return value

        return part

    for i in range(segments - 1):
        input = checkpoint(run(i * size, (i + 1) * size), input, preserve_rng_state=preserve_rng_state)
    return run((segments - 1) * size, len(steps))(input)


@contextlib.contextmanager
def set_checkpoint_early_stop(enable: bool) -> Iterator[None]:
    """Inside the block, whether second runs end early, whatever a call of :func:`checkpoint` says.

    >>> with fb.utils.checkpoint.set_checkpoint_early_stop(False):
    ...     y = fb.utils.checkpoint.checkpoint(fb.exp, fb.ones(1))
    """
    token = _early_stop.set(enable)
    try:
        yield
    finally:
        _early_stop.reset(token)


@contextlib.contextmanager
def set_checkpoint_debug_enabled(enabled: bool | None) -> Iterator[None]:
    """Inside the block, whether errors list the ops of both runs, whatever a call says; None leaves it to the call.

    >>> with fb.utils.checkpoint.set_checkpoint_debug_enabled(True):
    ...     y = fb.utils.checkpoint.checkpoint(fb.exp, fb.ones(1))
    """
    token = _debug.set(enabled)
    try:
        yield
    finally:
        _debug.reset(token)


class GraphExecGroup:
    """Backwards inside one block share what was computed again; here a graph keeps it for as long as it is read.

    >>> with fb.utils.checkpoint.GraphExecGroup():
    ...     pass
    """

    _open: ContextVar[GraphExecGroup | None] = ContextVar("flambeau_checkpoint_group", default=None)

    def __enter__(self) -> GraphExecGroup:
        if self._open.get() is not None:
            raise RuntimeError("GraphExecGroup: one is open already")
        self._token = self._open.set(self)
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.reset(self._token)


# -- the pieces of the older form ------------------------------------------------------------------------
def detach_variable(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The tensors among ``inputs`` without their history, wanting gradients as before; all else as it is.

    >>> x = fb.ones(1, requires_grad=True)
    >>> detach_variable((x * 2, 3))
    (tensor([2.], requires_grad=True), 3)
    """
    if not isinstance(inputs, tuple):
        raise RuntimeError(f"detach_variable: Only tuple of tensors is supported, got {type(inputs).__name__}")
    return tuple(
        v.detach().requires_grad_(v.requires_grad) if isinstance(v, Tensor) and v.dtype.is_floating_point
        else v.detach() if isinstance(v, Tensor) else v
        for v in inputs
    )  # fmt: skip


def check_backward_validity(inputs: Iterable[object]) -> None:
    """Warn where no tensor among ``inputs`` wants a gradient.

    >>> check_backward_validity([fb.ones(1, requires_grad=True)])
    """
    if not any(isinstance(v, Tensor) and v.requires_grad for v in inputs):
        warnings.warn("None of the inputs have requires_grad=True. Gradients will be None", stacklevel=users_level())


class DefaultDeviceType:
    """The type of device whose generators the older form keeps: the accelerator's, unless another was set.

    >>> DefaultDeviceType.set_device_type("cpu")
    >>> DefaultDeviceType.get_device_type()
    'cpu'
    >>> DefaultDeviceType._chosen = None
    """

    _chosen: str | None = None

    @staticmethod
    def set_device_type(device: str = "cuda") -> None:
        """Set it."""
        DefaultDeviceType._chosen = device

    @staticmethod
    def get_device_type() -> str:
        """Tell it."""
        found = current_accelerator()
        return DefaultDeviceType._chosen or ("cpu" if found is None else found.type)


def get_device_states(*args: object) -> tuple[list[int], list[Tensor]]:
    """The indices of the devices that tensors among the arguments are on, and the generator's state for each.

    >>> get_device_states(fb.ones(1, device="cpu"))
    ([], [])
    """
    tensors = [a for a in args if isinstance(a, Tensor) and not a.is_cpu]
    indices = sorted({a.device.number for a in tensors})
    return indices, [default_generator.get_state() for _ in indices]


def set_device_states(devices: list[int], states: list[Tensor], *, device_type: str | None = None) -> None:
    """Go on from the states that :func:`get_device_states` gave: one generator serves all devices.

    >>> set_device_states([], [])
    """
    for state in states[:1]:
        default_generator.set_state(state)


class CheckpointFunction(Function):
    """The older form: the function runs without a graph, and again with one in backward, which walks that at once.

    >>> x = fb.tensor(2.0, requires_grad=True)
    >>> CheckpointFunction.apply(lambda t: t * t, True, x).backward()
    >>> x.grad
    tensor(4.)
    """

    @staticmethod  # Any: the context, what the function takes and gives
    def forward(ctx: Any, run_function: Callable[..., Any], preserve_rng_state: bool, *args: Any) -> Any:
        """What the function gives."""
        ctx.run_function, ctx.arguments = run_function, args
        ctx.rng, ctx.autocast = default_generator.state if preserve_rng_state else None, current().autocast
        with no_grad():
            return run_function(*args)

    @staticmethod  # Any: the context, and a gradient or None for each argument
    def backward(ctx: Any, *grads: Any) -> Any:
        """The gradients of the arguments, by a second run."""
        wanted = zip(ctx.arguments, ctx.needs_input_grad[2:], strict=True)
        arguments = [a.detach().requires_grad_(w) if isinstance(a, Tensor) and w else a for a, w in wanted]
        with _same_numbers(ctx.rng), under(ctx.autocast), enable_grad():
            outputs = ctx.run_function(*arguments)
        found = outputs if isinstance(outputs, tuple) else (outputs,)
        pairs = [(o, g) for o, g in zip(found, grads, strict=True) if isinstance(o, Tensor) and o.requires_grad]
        if not pairs:
            raise RuntimeError("none of output has requires_grad=True, this checkpoint() is not necessary")
        run_backward([o for o, _ in pairs], [g for _, g in pairs])
        return (None, None, *(a.grad if isinstance(a, Tensor) else None for a in arguments))


class _Enough(Exception):
    """Ends the second run: everything that was kept is there again."""


@contextlib.contextmanager
def _same_numbers(rng: tuple[int, int] | None) -> Iterator[None]:
    """A block that draws the numbers from ``rng`` on, and after which the generator stands as before."""
    if rng is None:
        yield
        return
    with fork_rng():
        default_generator.state = rng
        yield


class _Frame:
    """One checkpointed call: how many values its graph keeps, and those of the second run until they are read."""

    def __init__(
        self, call: Callable[[], object], again: Context, rng: tuple[int, int] | None, check: bool, stop: bool,
        debug: bool,
    ):  # fmt: skip
        self.call, self.again, self.rng, self.check, self.stop, self.debug = call, again, rng, check, stop, debug
        self.autocast = current().autocast
        self.kept: list[tuple[tuple[int, ...], DType]] = []  # shape and dtype of each
        self.values: dict[int, Tensor] = {}
        self.ops: list[str] = []  # of the first run, to be shown

    def noting(self, ops: list[str]) -> Context:
        """A block whose ops are noted, if they are to be shown."""

        def note(op: Op, key: Key, arrays: Any, params: dict[str, Any], kernel: Callable[..., Any]) -> Any:
            ops.append(f"{op.name}({', '.join(str(tuple(a.shape)) for a in arrays if hasattr(a, 'shape'))})")
            return kernel(*arrays, **params)

        return watch(note) if self.debug else contextlib.nullcontext()

    def pack(self, t: Tensor) -> int:
        self.kept.append((tuple(t.shape), t.dtype))
        return len(self.kept) - 1

    def unpack(self, place: int) -> Tensor:
        if place not in self.values:
            self._run_again()
        # Freed when read: if the graph is kept, the next backward runs the function once more.
        return self.values.pop(place)

    def _run_again(self) -> None:
        found: list[Tensor] = []
        ops: list[str] = []

        def collect(t: Tensor) -> int:
            found.append(t)
            if self.stop and len(found) == len(self.kept):
                raise _Enough
            return len(found) - 1

        with (
            contextlib.suppress(_Enough),
            _same_numbers(self.rng),
            under(self.autocast),
            self.noting(ops),
            self.again,
            enable_grad(),
            saved_tensors_hooks(collect, lambda i: found[i]),
        ):
            self.call()
        kept = [(tuple(t.shape), t.dtype) for t in found]
        if len(kept) != len(self.kept) or (self.check and kept != self.kept):
            listed = f". The ops were\n  {self.ops}\nthen\n  {ops}" if self.debug else ""
            raise CheckpointError(
                "checkpoint: the function computed something else when it ran again: at first it kept "
                f"{len(self.kept)} values {self.kept[:4]}, then {len(kept)} {kept[:4]}. It must do the same each time "
                f"(the same branches and modes; preserve_rng_state=True for random numbers){listed}"
            )
        self.values = dict(enumerate(found))


explain_functions(globals(), "checkpoint checkpoint_sequential", wrap=checking)
