"""timm: a small model of each family, its answers and gradients; features, optimizers, schedules and losses."""

from __future__ import annotations

import functools
from typing import Any

import jobs
import timm
import timm.loss
import timm.optim
import timm.scheduler
import timm.utils
import torch
from jobs import even, gradients, job, tensor, whole

#: Models, and what makes them small.
MODELS: dict[str, dict[str, Any]] = {
    "resnet10t": {},
    "resnet14t": {},
    "resnetv2_18": {},
    "mobilenetv3_small_050": {},
    "mobilenetv4_conv_small_050": {},
    "efficientnet_lite0": {},
    "tf_efficientnetv2_b0": {},
    "mnasnet_small": {},
    "ghostnet_050": {},
    "ghostnetv2_100": {},
    "lcnet_050": {},
    "tinynet_e": {},
    "hardcorenas_a": {},
    "fbnetv3_b": {},
    "regnetx_002": {},
    "regnety_002": {},
    "regnetz_005": {},
    "dla46_c": {},
    "skresnet18": {},
    "repvgg_a0": {},
    "mobileone_s0": {},
    "repghostnet_050": {},
    "convnext_atto": {},
    "convnextv2_atto": {},
    "edgenext_xx_small": {},
    "mobilevit_xxs": {},
    "mobilevitv2_050": {},
    "fastvit_t8": {},
    "efficientvit_b0": {},
    "efficientformerv2_s0": {"img_size": 64},
    "poolformer_s12": {},
    "pvt_v2_b0": {},
    "starnet_s1": {},
    "inception_next_atto": {},
    "test_vit": {"img_size": 64},
    "test_resnet": {},
    "test_convnext": {},
    "test_byobnet": {},
    "test_efficientnet": {},
    "test_mambaout": {},
    "test_nfnet": {},
    "test_vit2": {"img_size": 64},
    "test_vit3": {"img_size": 64},
    "vit_tiny_patch16_224": {"img_size": 32},
    "deit_tiny_distilled_patch16_224": {"img_size": 32},
    "eva02_tiny_patch14_224": {"img_size": 28},
    "mixer_s32_224": {"img_size": 64},
    "resmlp_12_224": {"img_size": 32},
    "swinv2_cr_tiny_ns_224": {"img_size": 64, "depths": (1, 1, 2, 1)},
    "cait_xxs24_224": {"img_size": 32, "depth": 2},
    "xcit_nano_12_p16_224": {"img_size": 32, "depth": 2},
    "levit_128s": {"img_size": 64},
    "visformer_tiny": {"img_size": 32},
    "coat_tiny": {"img_size": 32},
    "convit_tiny": {"img_size": 32, "depth": 3},
    "pit_ti_224": {"img_size": 64},
    "tnt_s_legacy_patch16_224": {"img_size": 32, "depth": 2},
    "lambda_resnet26rpt_256": {"img_size": 64},
    "botnet26t_256": {"img_size": 64},
    "davit_tiny": {"depths": (1, 1, 1, 1)},
    "hiera_tiny_224": {"img_size": 64},
}


def classify(name: str, options: dict[str, Any]) -> Any:
    """Answers in evaluation, and a few of the gradients of a loss."""
    model = even(timm.create_model(name, num_classes=10, **options)).eval()
    side = options.get("img_size", 64)
    out = model(tensor(2, 3, side, side))
    torch.nn.functional.cross_entropy(out, torch.tensor([1, 3]).to(jobs.DEVICE)).backward()
    found = gradients(model)
    return out, dict(list(found.items())[:: max(1, len(found) // 10)])


for named, options in MODELS.items():
    jobs.JOBS[f"model_{named}"] = functools.partial(classify, named, options)


@job
def features() -> Any:
    """Feature maps of two models, and what a vision transformer gives inside."""
    levels = even(timm.create_model("resnet10t", features_only=True, out_indices=(1, 3))).eval()
    model = even(timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=0)).eval()
    x = tensor(1, 3, 32, 32)
    return (
        levels(x),
        levels.feature_info.channels(),
        model(x),
        model.forward_features(x),
        model.get_intermediate_layers(x),
    )


@job
def optimizers() -> Any:
    """Eleven of its optimizers, three steps each."""
    found = {}
    for name in (
        "sgd",
        "adamw",
        "lamb",
        "lookahead_adam",
        "rmsproptf",
        "adafactor",
        "lion",
        "adabelief",
        "nadamw",
        "madgrad",
        "adan",
    ):
        model = even(torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3)))
        optimizer = timm.optim.create_optimizer_v2(model, opt=name, lr=1e-2, weight_decay=0.01)
        for step in range(3):
            optimizer.zero_grad()
            loss = model(tensor(4, 6, seed=step)).square().mean()
            loss.backward()
            optimizer.step()
        found[name] = loss
    return found


@job
def training() -> Any:
    """Two steps with averaged weights, a schedule and label smoothing."""
    model = even(timm.create_model("mobilenetv3_small_050", num_classes=4, drop_rate=0.0)).train()
    average = timm.utils.ModelEmaV3(model, decay=0.9)
    optimizer = timm.optim.create_optimizer_v2(model, "sgd", lr=1e-3, momentum=0.9)
    schedule, _ = timm.scheduler.create_scheduler_v2(optimizer, "cosine", num_epochs=5, warmup_epochs=2)
    losses = []
    for epoch in range(2):
        out = model(tensor(4, 3, 32, 32))
        loss = timm.loss.LabelSmoothingCrossEntropy(0.1)(out, whole(4, 4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.update(model)
        schedule.step(epoch + 1)
        losses.append((loss.item(), optimizer.param_groups[0]["lr"]))
    return losses, average.module.conv_stem.weight.norm(), timm.utils.accuracy(out, whole(4, 4), topk=(1, 2))


@job
def losses() -> Any:
    """Four of its losses, with gradients."""
    x, y = tensor(4, 5, grad=True), torch.nn.functional.one_hot(whole(5, 4), 5).float()
    found = [
        timm.loss.SoftTargetCrossEntropy()(x, y),
        timm.loss.AsymmetricLossMultiLabel()(x, y),
        timm.loss.BinaryCrossEntropy()(x, y),
        timm.loss.JsdCrossEntropy(num_splits=2)(x, whole(5, 2)),
    ]
    sum(found).backward()
    return found, x.grad


if __name__ == "__main__":
    jobs.main("timm")
