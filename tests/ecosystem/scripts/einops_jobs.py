"""einops: rearrangements, reductions, products and layers."""

from __future__ import annotations

from typing import Any

import einops
import jobs
import torch
from einops.layers.torch import EinMix, Rearrange, Reduce
from jobs import even, gradients, job, tensor
from torch import nn


@job
def functions() -> Any:
    """rearrange, reduce, repeat, einsum, pack and parse_shape."""
    x = tensor(2, 6, 4, 4)
    return [
        einops.rearrange(x, "b (g c) h w -> b g (h w) c", g=3),
        einops.reduce(x, "b c (h 2) (w 2) -> b c h w", "mean"),
        einops.reduce(x, "b c h w -> b c", "max"),
        einops.repeat(x[:, :1, :2, 0], "b c h -> b c h w", w=3),
        einops.einsum(x, tensor(4, 5, seed=1), "b c h w, w k -> b c h k"),
        *einops.pack([x, x[:, :2]], "b * h w"),
        einops.parse_shape(x, "b c _ w"),
    ]


@job
def layers() -> Any:
    """Reduce, Rearrange and EinMix inside a network, its outputs and gradients."""
    model = even(
        nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.ReLU(), Reduce("b c (h 2) (w 2) -> b c h w", "max"),
            Rearrange("b c h w -> b (c h w)"),
            EinMix("b i -> b o", weight_shape="i o", bias_shape="o", i=72, o=5),
        )
    )  # fmt: skip
    out = model(tensor(2, 3, 8, 8))
    torch.nn.functional.cross_entropy(out, torch.tensor([1, 3]).to(jobs.DEVICE)).backward()
    return out, gradients(model)


if __name__ == "__main__":
    jobs.main("einops")
