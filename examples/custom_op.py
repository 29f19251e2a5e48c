"""An op of your own: a gradient, a kernel for one device, shapes without data, and a check of it all."""

from __future__ import annotations

from typing import Any

import flambeau as fb
from flambeau import library


@library.custom_op("examples::soft_clip", mutates_args=())
def soft_clip(x: fb.Tensor, limit: float) -> fb.Tensor:
    """x where it is small, and never beyond ±limit."""
    return limit * fb.tanh(x / limit)


@soft_clip.register_fake
def _shape(x: fb.Tensor, limit: float) -> fb.Tensor:
    return fb.empty_like(x)


def _save(ctx: Any, inputs: tuple[fb.Tensor, float], output: fb.Tensor) -> None:
    ctx.limit = inputs[1]
    ctx.save_for_backward(output)


def _backward(ctx: Any, grad: fb.Tensor) -> tuple[fb.Tensor, None]:
    (out,) = ctx.saved_tensors
    return grad * (1 - (out / ctx.limit) ** 2), None


soft_clip.register_autograd(_backward, setup_context=_save)


@soft_clip.register_kernel("strict")  # this device has no tanh: compute it from exp
def _on_strict(x: fb.Tensor, limit: float) -> fb.Tensor:
    e = fb.exp(x * (-2 / limit))
    return limit * (1 - e) / (1 + e)


def main() -> None:
    """Use the op on two devices, under vmap, and check it."""
    x = fb.tensor([-10.0, 0.5, 10.0], requires_grad=True)
    y = soft_clip(x, 2.0)
    y.sum().backward()
    print("cpu     ", y.detach(), "gradient", x.grad)
    print("strict  ", soft_clip(x.detach().to("strict"), 2.0).cpu())
    print("vmap    ", fb.vmap(lambda v: soft_clip(v, 2.0).sum())(fb.ones(2, 3)))
    print("meta    ", soft_clip(fb.empty(4, 5, device="meta"), 2.0).shape)
    sample = fb.randn(3, dtype=fb.float64, requires_grad=True)
    print("opcheck ", library.opcheck(soft_clip, (sample, 2.0)))


if __name__ == "__main__":
    main()
