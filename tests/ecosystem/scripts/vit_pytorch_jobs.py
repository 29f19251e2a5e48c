"""vit-pytorch: transformers of images, their answers and gradients."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import jobs
import torch
from jobs import even, gradients, job, tensor
from vit_pytorch.distill import DistillableViT, DistillWrapper
from vit_pytorch.recorder import Recorder
from vit_pytorch.vit import ViT

COMMON: dict[str, Any] = {
    "image_size": 32,
    "patch_size": 8,
    "num_classes": 5,
    "dim": 32,
    "depth": 2,
    "heads": 2,
    "mlp_dim": 48,
}
#: The module, the class, and what differs from what is common; None takes an option away.
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "vit": ("vit", "ViT", {}),
    "simple": ("simple_vit", "SimpleViT", {}),
    "registers": ("simple_vit_with_register_tokens", "SimpleViT", {}),
    "patch_dropout": ("vit_with_patch_dropout", "ViT", {"patch_dropout": 0.0}),
    "small_data": ("vit_for_small_dataset", "ViT", {}),
    "deep": ("deepvit", "DeepViT", {}),
    "cait": ("cait", "CaiT", {"cls_depth": 1}),
    "qk_norm": ("simple_vit_with_qk_norm", "SimpleViT", {}),
    "parallel": ("parallel_vit", "ViT", {}),
    "crossformer": (
        "crossformer",
        "CrossFormer",
        {
            **dict.fromkeys(COMMON),
            "num_classes": 5,
            "dim": (32, 32, 64, 64),
            "depth": (1, 1, 1, 1),
            "global_window_size": (4, 2, 1, 1),
            "local_window_size": 1,
        },
    ),
    "region": (
        "regionvit",
        "RegionViT",
        {**dict.fromkeys(COMMON), "num_classes": 5, "dim": (16, 24, 32, 32), "depth": (1, 1, 1, 1), "window_size": 1},
    ),
    "scalable": (
        "scalable_vit",
        "ScalableViT",
        {
            **dict.fromkeys(COMMON),
            "num_classes": 5,
            "dim": 16,
            "heads": (1, 1, 2, 2),
            "depth": (1, 1, 1, 1),
            "ssa_dim_key": (8, 8, 8, 8),
            "reduction_factor": (8, 4, 2, 1),
            "window_size": (8, 4, None, None),
        },
    ),
    "cct": (
        "cct",
        "cct_2",
        {
            **dict.fromkeys(COMMON),
            "img_size": 32,
            "num_classes": 5,
            "n_conv_layers": 1,
            "kernel_size": 7,
            "positional_embedding": "learnable",
        },
    ),
    "cvt": (
        "cvt",
        "CvT",
        {
            **dict.fromkeys(COMMON),
            "num_classes": 5,
            "s1_emb_dim": 8,
            "s2_emb_dim": 12,
            "s3_emb_dim": 16,
            "s3_depth": 2,
            "s3_heads": 2,
        },
    ),
    "levit": (
        "levit",
        "LeViT",
        {
            **dict.fromkeys(COMMON),
            "image_size": 64,
            "num_classes": 5,
            "stages": 2,
            "dim": (16, 24),
            "depth": 1,
            "heads": (2, 2),
            "mlp_mult": 2,
        },
    ),
    "nest": (
        "nest",
        "NesT",
        {
            **COMMON,
            "mlp_dim": None,
            "patch_size": 4,
            "num_hierarchies": 2,
            "block_repeats": (1, 1),
            "depth": None,
            "dim": 16,
        },
    ),
    "mobile": (
        "mobile_vit",
        "MobileViT",
        {
            **dict.fromkeys(COMMON),
            "image_size": (64, 64),
            "dims": [16, 20, 24],
            "num_classes": 5,
            "channels": [8, 8, 12, 12, 16, 16, 20, 20, 24, 24, 32],
        },
    ),
    "xcit": ("xcit", "XCiT", {"cls_depth": 1}),
    "three_d": (
        "simple_vit_3d",
        "SimpleViT",
        {"patch_size": None, "image_patch_size": 8, "frames": 4, "frame_patch_size": 2},
    ),
    "one_d": ("vit_1d", "ViT", {"image_size": None, "seq_len": 32}),
    "vivit": (
        "vivit",
        "ViViT",
        {
            "patch_size": None,
            "image_patch_size": 8,
            "frames": 4,
            "frame_patch_size": 2,
            "depth": None,
            "spatial_depth": 1,
            "temporal_depth": 1,
        },
    ),
}
SHAPES = {
    "levit": (2, 3, 64, 64),
    "mobile": (2, 3, 64, 64),
    "three_d": (2, 3, 4, 32, 32),
    "vivit": (2, 3, 4, 32, 32),
    "one_d": (2, 3, 32),
}


def classify(name: str) -> Any:
    """Answers of a small model in evaluation, and the gradients of a loss."""
    module, cls, special = MODELS[name]
    options = {k: v for k, v in (COMMON | special).items() if v is not None}
    model = even(getattr(importlib.import_module(f"vit_pytorch.{module}"), cls)(**options)).eval()
    out = model(tensor(*SHAPES.get(name, (2, 3, 32, 32))))
    torch.nn.functional.cross_entropy(out, torch.tensor([1, 3]).to(jobs.DEVICE)).backward()
    return out, gradients(model)


for named in MODELS:
    jobs.JOBS[f"model_{named}"] = functools.partial(classify, named)


@job
def distillation() -> Any:
    """A student learns from a teacher: loss and gradients."""
    student = DistillableViT(**COMMON)
    teacher = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 5))
    wrapper = even(DistillWrapper(student=student, teacher=teacher, temperature=3, alpha=0.5, hard=False)).eval()
    loss = wrapper(tensor(2, 3, 32, 32), torch.tensor([1, 3]).to(jobs.DEVICE))
    loss.backward()
    return loss, gradients(student)


@job
def attention() -> Any:
    """The attention weights inside a model."""
    model = even(Recorder(ViT(**COMMON)).eval())
    out, weights = model(tensor(1, 3, 32, 32))
    return out, weights


if __name__ == "__main__":
    jobs.main("vit_pytorch")
