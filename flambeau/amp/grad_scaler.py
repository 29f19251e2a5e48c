"""Losses scaled so that float16 does not lose their small gradients, by a scale that finds itself.

P. Micikevicius et al., "Mixed precision training", arXiv:1710.03740, section 3.2.
"""

from __future__ import annotations

import enum
import inspect
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from flambeau.core import autocast as state
from flambeau.core.blame import users_level
from flambeau.core.creation import full
from flambeau.core.device import device as Device
from flambeau.core.dtype import DType, float16, float32
from flambeau.core.events import host
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.nn.utils.clip import largest_size, scale_gradients

if TYPE_CHECKING:
    from flambeau.optim import Optimizer

__all__ = ["GradScaler", "OptState"]


class OptState(enum.Enum):
    """What a scaler has done for an optimizer since the last update."""

    READY = 0
    UNSCALED = 1
    STEPPED = 2


class _Seen:
    """What a scaler knows of one optimizer since the last update."""

    def __init__(self) -> None:
        self.stage = OptState.READY
        self.found: dict[Device, Tensor] = {}  # by device 1.0 where a gradient was inf or nan, else 0.0


class GradScaler:
    """Scales losses before backward and gradients back before the step, which it skips where one is inf or nan.

    After a skipped step the scale shrinks by ``backoff_factor``; after ``growth_interval`` steps without one it grows
    by ``growth_factor``. Under bfloat16, whose range is that of float32, no scaler is needed.

    Args:
        device: the type of device of the model.
        init_scale: the first scale.
        growth_factor: above 1.
        backoff_factor: below 1.
        growth_interval: how many steps without inf or nan there are before the scale grows.
        enabled: False: everything passes through, and :meth:`step` is the optimizer's.

    Raises:
        AssertionError: a factor is on the wrong side of 1, or a method comes before :meth:`scale`.
        RuntimeError: :meth:`unscale_` or :meth:`step` comes twice before :meth:`update`.
        ValueError: a gradient that is to be scaled back is of float16, which parameters should not be.

    >>> w = fb.ones(2, requires_grad=True)
    >>> optimizer = fb.optim.SGD([w], lr=0.25)
    >>> scaler = fb.amp.GradScaler("cpu", init_scale=1024.0)
    >>> scaler.scale((w * w).sum()).backward()
    >>> w.grad
    tensor([2048., 2048.])
    >>> scaler.step(optimizer)
    >>> scaler.update()
    >>> w
    tensor([0.5000, 0.5000], requires_grad=True)
    """

    def __init__(
        self, device: str = "cuda", init_scale: float = 2.0**16, growth_factor: float = 2.0,
        backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True,
    ):  # fmt: skip
        self._device = state.type_of("GradScaler", device)
        self._enabled = bool(enabled)
        if enabled and (reason := state.absent(self._device)) is not None:
            warnings.warn(f"GradScaler: {reason}. Disabling.", stacklevel=users_level())
            self._enabled = False
        if self._enabled and not growth_factor > 1.0:
            raise AssertionError(f"GradScaler: The growth factor must be > 1.0, got {growth_factor}")
        if self._enabled and not backoff_factor < 1.0:
            raise AssertionError(f"GradScaler: The backoff factor must be < 1.0, got {backoff_factor}")
        self._init_scale, self._growth_factor, self._backoff_factor = init_scale, growth_factor, backoff_factor
        self._growth_interval, self._growth_tracker = growth_interval, 0
        self._scale: Tensor | None = None  # on the device of the first loss
        self._seen: dict[int, _Seen] = {}  # by the optimizer's id

    # -- in a step -----------------------------------------------------------------------------------
    def scale(self, outputs: Any) -> Any:  # Any: a tensor, or a nesting of them
        """A loss, or several, times the scale: what :meth:`Tensor.backward` is to be called on."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            if self._scale is None:
                self._scale = full((), self._init_scale, dtype=float32, device=outputs.device)
            return outputs * self._scale.to(outputs.device)
        if isinstance(outputs, Iterable) and not isinstance(outputs, (str, bytes)):
            scaled = (self.scale(o) for o in outputs)
            return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else scaled
        raise ValueError(f"GradScaler.scale: outputs must be a tensor or an iterable of them, got {outputs!r}")

    def unscale_(self, optimizer: Optimizer) -> None:
        """Divide the gradients of an optimizer by the scale, so that they can be looked at, or clipped, before step."""
        if not self._enabled:
            return
        scale = self._begun("unscale_")
        seen = self._of(optimizer)
        if seen.stage is OptState.UNSCALED:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        if seen.stage is OptState.STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        seen.found = self._unscaled(optimizer, 1.0 / scale.item(), allow_fp16=False)
        seen.stage = OptState.UNSCALED

    def step(self, optimizer: Optimizer, *args: Any, **kwargs: Any) -> Any:  # Any: what its step takes and gives
        """The optimizer's step with gradients scaled back; nothing, and None, where one of them is inf or nan."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("GradScaler.step: Closure use is not currently supported if GradScaler is enabled.")
        self._begun("step")
        seen = self._of(optimizer)
        if seen.stage is OptState.STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            return self._step_itself(optimizer, seen, args, kwargs)
        if seen.stage is OptState.READY:
            self.unscale_(optimizer)
        if not seen.found:
            raise AssertionError("No inf checks were recorded for this optimizer: none of its parameters has a grad")
        found = any(f.item() for f in seen.found.values())
        result = None if found else optimizer.step(*args, **kwargs)
        seen.stage = OptState.STEPPED
        return result

    def _step_itself(self, optimizer: Any, seen: _Seen, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The step of an optimizer that takes ``grad_scale`` and ``found_inf``, and skips by itself."""
        if "grad_scaler" in inspect.signature(optimizer.step).parameters:
            result = optimizer.step(*args, **kwargs, grad_scaler=self)
            seen.stage = OptState.STEPPED
            return result
        scale, before = self._begun("step"), getattr(optimizer, "grad_scale", None)
        if seen.stage is OptState.READY:
            self._check_inf_per_device(optimizer)
        if seen.stage is not OptState.UNSCALED:
            optimizer.grad_scale = scale if before is None else scale * before
        else:
            optimizer.grad_scale = before
        optimizer.found_inf = sum(f.to(scale.device) for f in seen.found.values())
        try:
            return optimizer.step(*args, **kwargs)
        finally:
            seen.stage = OptState.STEPPED
            del optimizer.grad_scale, optimizer.found_inf

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Choose the next scale, or set it to ``new_scale``; after the steps of all optimizers."""
        if not self._enabled:
            return
        scale = self._begun("update")
        if isinstance(new_scale, Tensor):
            if new_scale.numel() != 1 or new_scale.requires_grad:
                raise AssertionError("GradScaler.update: new_scale must be a number or a tensor of one, without grad")
            scale.copy_(new_scale.reshape(()))
        elif new_scale is not None:
            scale.fill_(new_scale)
        else:
            self._adapt(scale)
        self._seen = {}

    def _adapt(self, scale: Tensor) -> None:
        checks = [f for seen in self._seen.values() for f in seen.found.values()]
        if not checks:
            raise AssertionError("No inf checks were recorded prior to update.")
        if any(f.item() for f in checks):
            scale.mul_(host(self._shrunk))
        elif host(self._counted):
            grown = scale * host(self.get_growth_factor)
            if grown.isfinite():
                scale.copy_(grown)

    def _shrunk(self) -> float:
        self._growth_tracker = 0
        return self._backoff_factor

    def _counted(self) -> bool:
        """Whether this was the last of the steps after which the scale grows."""
        self._growth_tracker += 1
        if self._growth_tracker != self._growth_interval:
            return False
        self._growth_tracker = 0
        return True

    # -- gradients -----------------------------------------------------------------------------------
    def _of(self, optimizer: Any) -> _Seen:
        return self._seen.setdefault(id(optimizer), _Seen())

    def _begun(self, name: str) -> Tensor:
        if self._scale is None:
            raise AssertionError(
                f"Attempted {name} but _scale is None.  This may indicate your script did not use "
                "scaler.scale(loss or outputs) earlier in the iteration."
            )
        return self._scale

    def _unscaled(self, optimizer: Any, factor: float, *, allow_fp16: bool) -> dict[Device, Tensor]:
        """Multiply gradients by a factor, in place; by device, 1.0 where one was inf or nan, else 0.0.

        The largest size of all elements says that: it is inf or nan where any is. A device that can finds it, for all
        gradients of a dtype, in one call.
        """
        lists: dict[tuple[Device, DType], list[Tensor]] = {}
        for group in optimizer.param_groups:
            for p in group["params"]:
                g = p.grad
                if g is None:
                    continue
                if g.dtype is float16 and not allow_fp16:
                    raise ValueError(
                        "Attempting to unscale FP16 gradients. The model's parameters are of float16: keep them in "
                        "float32, and let autocast cast them"
                    )
                if g.is_sparse and g.dtype is float16:
                    g = p.grad = g.coalesce()  # whose sums may be inf
                values = g._values() if g.is_sparse else g
                lists.setdefault((values.device, values.dtype), []).append(values)
        found: dict[Device, Tensor] = {}
        with no_grad():
            for (where, _), grads in lists.items():
                size = largest_size(grads)
                bad = full((), 0.0, device=where) if size is None else size.isfinite().logical_not()
                before = found.get(where)
                now = bad.to(where, float32)
                found[where] = now if before is None else before.maximum(now)
                if factor != 1:
                    scale_gradients(grads, factor)
        return found

    def _check_inf_per_device(self, optimizer: Any) -> dict[Device, Tensor]:
        seen = self._of(optimizer)
        seen.found = self._unscaled(optimizer, 1.0, allow_fp16=True)
        return seen.found

    def _found_inf_per_device(self, optimizer: Any) -> dict[Device, Tensor]:
        return self._of(optimizer).found

    # -- the numbers ---------------------------------------------------------------------------------
    def _get_scale_async(self) -> Tensor | None:
        return self._scale

    def _get_growth_tracker(self) -> int:
        return self._growth_tracker if self._enabled else 0

    def get_scale(self) -> float:
        """The scale; 1.0 when scaling is off."""
        if not self._enabled:
            return 1.0
        return float(self._init_scale) if self._scale is None else float(self._scale.item())

    def get_growth_factor(self) -> float:
        """By what the scale grows."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set by what the scale grows."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """By what the scale shrinks."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set by what the scale shrinks."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """After how many steps without inf or nan the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set after how many steps without inf or nan the scale grows."""
        self._growth_interval = new_interval

    def is_enabled(self) -> bool:
        """Whether it scales."""
        return self._enabled

    # -- kept and copied -----------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """Its numbers, to be saved after :meth:`update`; empty when scaling is off."""
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(), "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval, "_growth_tracker": self._growth_tracker,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the numbers of :meth:`state_dict`; nothing when scaling is off. RuntimeError for an empty one."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        self._init_scale = float(state_dict["scale"])
        if self._scale is not None:
            self._scale.fill_(self._init_scale)
        self._growth_factor, self._backoff_factor = state_dict["growth_factor"], state_dict["backoff_factor"]
        self._growth_interval, self._growth_tracker = state_dict["growth_interval"], state_dict["_growth_tracker"]

    def __getstate__(self) -> dict[str, Any]:
        if self._seen:
            raise AssertionError(
                "A GradScaler instance may only be pickled at the beginning of an iteration, or at the end after "
                "scaler.update()."
            )
        return self.__dict__ | {"_init_scale": self.get_scale() if self._enabled else self._init_scale, "_scale": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
