"""torchvision: models, transforms, operators, detection, images in files, and features through fx."""

from __future__ import annotations

import functools
import io
from typing import Any
from unittest import mock

import jobs
import numpy as np
import PIL.Image
import torch
import torchvision
from jobs import even, gradients, job, rng, tensor, whole
from torchvision import models, ops, tv_tensors
from torchvision.models import detection
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names
from torchvision.transforms import functional as f1
from torchvision.transforms import v2 as t2

#: Constructors of classifiers, and the side of the images that they are given.
MODELS: dict[str, tuple[int, dict[str, Any]]] = {
    "resnet18": (48, {}),
    "resnext50_32x4d": (32, {}),
    "mobilenet_v2": (32, {}),
    "mobilenet_v3_small": (48, {}),
    "efficientnet_b0": (32, {}),
    "efficientnet_v2_s": (32, {}),
    "shufflenet_v2_x0_5": (48, {}),
    "squeezenet1_1": (48, {}),
    "mnasnet0_5": (48, {}),
    "regnet_y_400mf": (32, {}),
    "convnext_tiny": (32, {}),
    "densenet121": (32, {}),
    "googlenet": (48, {"aux_logits": False, "init_weights": False}),
    "swin_t": (32, {}),
    "vit_b_16": (32, {"image_size": 32}),
    "alexnet": (64, {}),
    "vgg11_bn": (32, {}),
}


def classify(name: str, side: int, options: dict[str, Any]) -> Any:
    """Answers of a model in evaluation, then the loss and a few of the gradients in training."""
    model = even(getattr(models, name)(num_classes=10, **options))
    model.eval()
    x = tensor(2, 3, side, side, grad=True)
    out = model(x)
    torch.nn.functional.cross_entropy(out, torch.tensor([1, 3]).to(jobs.DEVICE)).backward()
    found = gradients(model)
    return out, x.grad, dict(list(found.items())[:: max(1, len(found) // 12)])


for named, (side, options) in MODELS.items():
    jobs.JOBS[f"model_{named}"] = functools.partial(classify, named, side, options)


@job
def training() -> Any:
    """Three steps of SGD on a ResNet with batch norm."""
    model = even(models.resnet18(num_classes=4)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)
    x, y, losses = tensor(4, 3, 64, 64), whole(4, 4), []
    for _ in range(3):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model.bn1.running_mean, model.bn1.num_batches_tracked


@job
def segmentation() -> Any:
    """LRASPP, DeepLabV3 and FCN."""
    found = {}
    for name in ("lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "fcn_resnet50"):
        build = getattr(models.segmentation, name)
        model = even(build(weights=None, weights_backbone=None, num_classes=5)).eval()
        found[name] = model(tensor(1, 3, 32, 32))["out"]
    return found


@job
def video() -> Any:
    """A three-dimensional ResNet: output and gradient."""
    model = even(models.video.r3d_18(num_classes=5)).eval()
    out = model(tensor(1, 3, 4, 24, 24))
    out.sum().backward()
    return out, model.stem[0].weight.grad


@job
def optical_flow() -> Any:
    """RAFT, two updates."""
    model = even(models.optical_flow.raft_small(weights=None), scale=0.5).eval()
    with torch.no_grad():
        return model(tensor(1, 3, 128, 128), tensor(1, 3, 128, 128, seed=1), num_flow_updates=2)


def boxes(count: int, side: float, seed: int = 0) -> Any:
    numbers = rng(seed)
    low = numbers.uniform(0, side * 0.7, (count, 2))
    high = low + numbers.uniform(1, side * 0.3, (count, 2))
    return torch.from_numpy(np.concatenate([low, high], 1).astype(np.float32)).to(jobs.DEVICE)


@job
def boxes_and_suppression() -> Any:
    """Overlaps, conversions and suppression of boxes."""
    b, c = boxes(40, 30), boxes(7, 30, 1)
    scores = torch.from_numpy(rng(2).uniform(size=40).astype(np.float32)).to(jobs.DEVICE)
    return [
        ops.nms(b, scores, 0.3),
        ops.batched_nms(b, scores, whole(3, 40), 0.3),
        ops.box_iou(b, c),
        ops.generalized_box_iou(b, c),
        ops.distance_box_iou(b, c),
        ops.complete_box_iou(b, c),
        ops.box_area(b),
        ops.box_convert(b, "xyxy", "cxcywh"),
        ops.clip_boxes_to_image(b, (20, 25)),
        ops.remove_small_boxes(b, 5.0),
        ops.masks_to_boxes(whole(2, 3, 9, 9) > 0),
        ops.nms(b[:0], scores[:0], 0.5),
    ]


@job
def losses() -> Any:
    """Focal loss and three losses of boxes, with gradients."""
    x, y = tensor(6, 4, grad=True), (whole(2, 6, 4) > 0).float()
    a, b = boxes(6, 20).requires_grad_(), boxes(6, 20, 1)
    total = ops.sigmoid_focal_loss(x, y, reduction="mean")
    parts = [
        f(a, b, reduction="mean")
        for f in (ops.generalized_box_iou_loss, ops.distance_box_iou_loss, ops.complete_box_iou_loss)
    ]
    (total + sum(parts)).backward()
    return total, parts, x.grad, a.grad


def pooled(fn: Any, channels: int, **options: Any) -> Any:
    x = tensor(2, channels, 12, 15, grad=True)
    rois = torch.cat([whole(2, 9).float()[:, None], boxes(9, 40, 3)], 1)
    out = fn(x, rois, spatial_scale=0.4, **options)
    out.mul(tensor(*out.shape, seed=5)).sum().backward()
    return out, x.grad


@job
def regions() -> Any:
    """RoI align, pool and their position-sensitive forms, with gradients."""
    return {
        "align": pooled(ops.roi_align, 4, output_size=(3, 2), sampling_ratio=2),
        "adaptive": pooled(ops.roi_align, 4, output_size=(3, 2), sampling_ratio=-1, aligned=True),
        "pool": pooled(ops.roi_pool, 4, output_size=(3, 2)),
        "ps_align": pooled(ops.ps_roi_align, 24, output_size=(3, 2), sampling_ratio=2),
        "ps_adaptive": pooled(ops.ps_roi_align, 24, output_size=(3, 2)),
        "ps_pool": pooled(ops.ps_roi_pool, 24, output_size=(3, 2)),
        "module": pooled(
            lambda x, r, spatial_scale: ops.MultiScaleRoIAlign(["0"], 2, 2)(
                {"0": x}, [r[:4, 1:], r[4:, 1:]], [(30, 36), (30, 36)]
            ),
            3,
        ),
        "none": ops.roi_align(tensor(1, 2, 4, 4), [boxes(0, 4)], (2, 2)),
    }


@job
def deformable() -> Any:
    """Deformable convolution with groups and masks: all five gradients."""
    found = []
    for groups, parts, masked in ((1, 1, False), (2, 2, True), (1, 4, True)):
        x, w = tensor(2, 4, 8, 9, grad=True), tensor(6, 4 // groups, 3, 2, seed=1, grad=True)
        offset = tensor(2, parts * 12, 4, 8, seed=2, grad=True)
        mask = tensor(2, parts * 6, 4, 8, seed=3, grad=True) if masked else None
        bias = tensor(6, seed=4, grad=True)
        options = {"stride": (2, 1), "padding": (1, 0)}
        out = ops.deform_conv2d(x, offset, w, bias, mask=mask, **options)
        out.mul(tensor(*out.shape, seed=6)).sum().backward()
        found += [out, x.grad, w.grad, offset.grad, bias.grad, mask.grad if mask is not None else None]
    layer = even(ops.DeformConv2d(4, 6, 3, padding=1))
    return found, layer(tensor(1, 4, 6, 6), 0.5 * tensor(1, 18, 6, 6, seed=1))


@job
def layers() -> Any:
    """The layers in ops: squeeze and excitation, pyramid, frozen batch norm."""
    x = tensor(2, 6, 8, 8, grad=True)
    block = torch.nn.Sequential(
        ops.Conv2dNormActivation(6, 8, 3, norm_layer=ops.FrozenBatchNorm2d),
        ops.SqueezeExcitation(8, 4),
        ops.Permute([0, 2, 3, 1]),
        ops.MLP(8, [12, 8]),
        ops.Permute([0, 3, 1, 2]),
    )
    out = even(block)(x)
    out.square().sum().backward()
    pyramid = even(ops.FeaturePyramidNetwork([6, 8], 5))
    levels = pyramid({"a": x.detach(), "b": tensor(2, 8, 4, 4, seed=1)})
    dropped = ops.drop_block2d(x.detach(), 0.0, 3), ops.stochastic_depth(x.detach(), 0.0, "row")
    return out, x.grad, levels, dropped


def detector(model: Any, told: tuple[str, ...] = ("boxes", "labels", "scores")) -> Any:
    """What a detector finds in evaluation; its losses and a few gradients in training, with chance left out."""
    model = even(model, scale=0.5)
    pictures = [tensor(3, 64, 64).sigmoid(), tensor(3, 56, 64, seed=1).sigmoid()]
    model.eval()
    with torch.no_grad():
        found = model(pictures)
    model.train()
    wanted = [{"boxes": boxes(3, 50, 5 + i), "labels": 1 + whole(3, 3, seed=i)} for i in range(2)]
    if isinstance(model, detection.MaskRCNN):
        for w in wanted:
            w["masks"] = torch.ones(3, 64, 64, dtype=torch.uint8, device=jobs.DEVICE)
        wanted[1]["masks"] = wanted[1]["masks"][:, :56]
    lost = model(pictures, wanted)
    sum(lost.values()).backward()
    grads = gradients(model)
    return [{k: f[k][:10] for k in told} for f in found], lost, dict(list(grads.items())[:: len(grads) // 8])


SMALL = {"weights": None, "weights_backbone": None, "num_classes": 4, "min_size": 64, "max_size": 64}
#: Every proposal is taken, so that none is drawn by chance.
ALL = {
    "rpn_batch_size_per_image": 100_000,
    "box_batch_size_per_image": 100_000,
    "rpn_pre_nms_top_n_train": 60,
    "rpn_post_nms_top_n_train": 30,
    "rpn_pre_nms_top_n_test": 60,
    "rpn_post_nms_top_n_test": 30,
    "box_detections_per_img": 10,
}


@job
def faster_rcnn() -> Any:
    """Faster R-CNN: detections, training losses, gradients."""
    return detector(detection.fasterrcnn_mobilenet_v3_large_320_fpn(**SMALL, **ALL))


@job
def mask_rcnn() -> Any:
    """Mask R-CNN: detections, masks, training losses, gradients."""
    backbone = detection.backbone_utils.resnet_fpn_backbone(backbone_name="resnet18", weights=None)
    options = {k: v for k, v in SMALL.items() if not k.startswith("weights")}
    return detector(detection.MaskRCNN(backbone, **options, **ALL), told=("boxes", "labels", "scores", "masks"))


@job
def retinanet() -> Any:
    """RetinaNet: detections, training losses, gradients."""
    backbone = detection.backbone_utils.resnet_fpn_backbone(
        backbone_name="resnet18",
        weights=None,
        returned_layers=[2, 3, 4],
        extra_blocks=ops.feature_pyramid_network.LastLevelP6P7(256, 256),
    )
    return detector(detection.RetinaNet(backbone, 4, min_size=64, max_size=64, detections_per_img=10))


@job
def ssd() -> Any:
    """SSDlite: scores, training losses, gradients."""
    return detector(
        detection.ssdlite320_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=4, detections_per_img=10
        ),
        told=("scores",),  # boxes of nearly equal scores come in any order
    )


@job
def features() -> Any:
    """Features inside a model, by symbolic tracing."""
    model = even(models.resnet18(num_classes=4)).eval()
    names = get_graph_node_names(model)
    taken = create_feature_extractor(model, {"layer1": "low", "layer3.1.relu": "high", "avgpool": "pooled"})
    out = taken(tensor(1, 3, 32, 32))
    getter = models._utils.IntermediateLayerGetter(model, {"layer2": "two"})
    return names[1][:12], out, getter(tensor(1, 3, 32, 32))


def picture(*shape: int, seed: int = 0) -> Any:
    return torch.from_numpy(rng(seed).integers(0, 256, shape, dtype=np.uint8)).to(jobs.DEVICE)


@job
def transforms_of_tensors() -> Any:
    """Twenty-nine functional transforms of images as tensors."""
    x, u = tensor(3, 20, 24).sigmoid(), picture(3, 20, 24)
    fill = {"fill": [0.5]}
    return [
        f1.resize(x, [10, 15], antialias=True),
        f1.resize(u, [10, 15], antialias=True),
        f1.resize(x, [30, 31], antialias=False),
        f1.center_crop(x, [30, 10]),
        f1.pad(x, [2, 3], padding_mode="reflect"),
        f1.hflip(u),
        f1.vflip(x),
        f1.rotate(x, 30.0, **fill),
        f1.affine(x, 20.0, [2, 1], 1.2, [5.0, 3.0]),
        f1.perspective(x, [[0, 0], [23, 0], [23, 19], [0, 19]], [[2, 1], [20, 2], [22, 18], [1, 17]], **fill),
        f1.adjust_brightness(u, 1.3),
        f1.adjust_contrast(u, 0.7),
        f1.adjust_saturation(x, 1.5),
        f1.adjust_hue(x, 0.2),
        f1.adjust_gamma(u, 0.8),
        f1.adjust_sharpness(x, 2.0),
        f1.gaussian_blur(x, [3, 5], [0.7, 1.1]),
        f1.rgb_to_grayscale(u),
        f1.invert(u),
        f1.posterize(u, 3),
        f1.solarize(u, 100),
        f1.autocontrast(x),
        f1.equalize(u),
        f1.normalize(x, [0.5, 0.4, 0.3], [0.2, 0.3, 0.4]),
        f1.erase(x, 2, 3, 5, 6, x[:, :5, :6] * 0),
        f1.convert_image_dtype(u, torch.float32),
        f1.convert_image_dtype(x, torch.uint8),
        f1.elastic_transform(x, 0.1 * tensor(1, 20, 24, 2)),
        *f1.five_crop(x, [4, 4]),
    ]


@job
def transforms_of_pictures() -> Any:
    """Transforms of pillow's images, and a preset."""
    image = PIL.Image.fromarray(rng(3).integers(0, 256, (20, 24, 3), dtype=np.uint8))
    chain = torchvision.transforms.Compose(
        [
            torchvision.transforms.Resize(16),
            torchvision.transforms.CenterCrop(12),
            torchvision.transforms.ToTensor(),
            torchvision.transforms.Normalize([0.5] * 3, [0.25] * 3),
        ]
    )
    preset = torchvision.transforms._presets.ImageClassification(crop_size=8, resize_size=10)
    return chain(image), preset(image), f1.pil_to_tensor(f1.rotate(image, 20)), f1.to_pil_image(picture(3, 4, 5)).size


@job
def resized_bytes() -> Any:
    """Images of bytes resized on the host, where torchvision computes with whole numbers."""
    image, film = picture(3, 20, 24).cpu(), picture(2, 3, 20, 24, seed=1).cpu()
    ways = [(t2.InterpolationMode.BILINEAR, True), (t2.InterpolationMode.BILINEAR, False),
            (t2.InterpolationMode.BICUBIC, True), (t2.InterpolationMode.NEAREST_EXACT, False)]  # fmt: skip
    return [t2.functional.resize(x, [16, 30], way, antialias=soft) for x in (image, film) for way, soft in ways]


@job
def transforms_v2() -> Any:
    """Transforms v2 of images, boxes, masks and video together, resized as on devices, which takes floats."""
    with mock.patch("torchvision.transforms.v2.functional._geometry._do_native_uint8_resize_on_cpu", lambda way: False):
        return _transforms_v2()


def _transforms_v2() -> Any:
    image = tv_tensors.Image(picture(3, 20, 24))
    frame = tv_tensors.BoundingBoxes(boxes(4, 20), format="XYXY", canvas_size=(20, 24))
    mask = tv_tensors.Mask(whole(3, 20, 24))
    film = tv_tensors.Video(picture(2, 3, 20, 24, seed=1))
    given = {"image": image, "boxes": frame, "mask": mask, "film": film, "label": 3}
    steps = [
        t2.Resize((16, 18)),
        t2.RandomHorizontalFlip(1.0),
        t2.RandomVerticalFlip(1.0),
        t2.Pad(2),
        t2.CenterCrop(12),
        t2.ClampBoundingBoxes(),
        t2.SanitizeBoundingBoxes(labels_getter=None),
        t2.ToDtype({tv_tensors.Image: torch.float32, "others": None}, scale=True),
    ]
    out = t2.Compose(steps)(given)
    kinds = {k: type(v).__name__ for k, v in out.items()}
    plain = {k: v.as_subclass(torch.Tensor) if isinstance(v, torch.Tensor) else v for k, v in out.items()}
    turned = t2.functional.rotate(frame, 30.0), t2.functional.affine(mask, 10.0, [1, 2], 1.1, [3.0, 0.0])
    other = t2.functional.convert_bounding_box_format(frame, new_format=tv_tensors.BoundingBoxFormat.CXCYWH)
    grey = t2.functional.rgb_to_grayscale(image), t2.functional.equalize(image), t2.functional.adjust_hue(image, 0.1)
    mixed = t2.functional.to_dtype(image, torch.float32, scale=True) + 1
    return kinds, plain, [t.as_subclass(torch.Tensor) for t in (*turned, other, *grey)], type(mixed).__name__, mixed


@job
def chance() -> Any:
    """Where numbers are drawn, shapes and ranges alone can be told."""
    x = picture(3, 20, 24)
    made = [
        t2.RandomResizedCrop(12)(x),
        t2.ColorJitter(0.3, 0.3, 0.3, 0.1)(x),
        t2.RandAugment()(x),
        t2.AugMix()(x),
        t2.TrivialAugmentWide()(x),
        t2.AutoAugment()(x),
        t2.RandomErasing(1.0)(x),
        t2.RandomPerspective(p=1.0)(x),
        t2.ElasticTransform(sigma=2.0)(x),
        t2.GaussianNoise()(x.float() / 255),
    ]
    mixed, labels = t2.MixUp(num_classes=4)(tensor(4, 3, 8, 8), whole(4, 4))
    cut, _ = t2.CutMix(num_classes=4)(tensor(4, 3, 8, 8), whole(4, 4))
    return [(list(m.shape), str(m.dtype)) for m in made], list(mixed.shape), labels.sum(1), list(cut.shape)


@job
def files() -> Any:
    """PNG, JPEG and GIF, encoded and decoded; what is refused."""
    image = torch.from_numpy(rng(4).integers(0, 256, (3, 9, 11), dtype=np.uint8))
    smooth = torch.arange(3 * 32 * 32).reshape(3, 32, 32).div(12).to(torch.uint8)
    png, grey = torchvision.io.encode_png(image), torchvision.io.encode_png(image[:1])
    jpeg = torchvision.io.encode_jpeg(smooth, quality=95)
    found = [
        torchvision.io.decode_png(png),
        torchvision.io.decode_image(grey),
        torchvision.io.decode_image(png, "GRAY"),
        torchvision.io.decode_image(grey, "RGB"),
        torchvision.io.decode_image(png, torchvision.io.ImageReadMode.RGB_ALPHA),
    ]
    off = (torchvision.io.decode_jpeg(jpeg).int() - smooth.int()).abs().max().item() < 12
    written = io.BytesIO()
    PIL.Image.fromarray(image.permute(1, 2, 0).contiguous().numpy()).quantize(16).save(written, "GIF")
    gif = torch.from_numpy(np.frombuffer(written.getvalue(), np.uint8).copy())
    refused = []
    for wrong in (
        lambda: torchvision.io.decode_png(jpeg),
        lambda: torchvision.io.decode_image(smooth),
        lambda: torchvision.io.read_file("/nowhere"),
    ):
        try:
            wrong()
        except RuntimeError:
            refused.append("RuntimeError")
    return found, off, list(torchvision.io.decode_image(gif).shape), refused


@job
def pictures_of_tensors() -> Any:
    """Grids, boxes and masks drawn into images."""
    image = picture(3, 40, 40)
    grid = torchvision.utils.make_grid(tensor(5, 3, 6, 6), nrow=3, normalize=True)
    boxed = torchvision.utils.draw_bounding_boxes(image, boxes(2, 30).round(), colors=["red", "blue"])
    masked = torchvision.utils.draw_segmentation_masks(image, whole(2, 2, 40, 40) > 0, colors=["red", "blue"])
    return grid, boxed, masked, torchvision.utils.flow_to_image(tensor(2, 8, 8))


@job
def fake_data() -> Any:
    """A data set of its own through a DataLoader."""
    data = torchvision.datasets.FakeData(6, (3, 8, 8), 3, torchvision.transforms.ToTensor())
    loader = torch.utils.data.DataLoader(data, batch_size=4)
    return [[list(x.shape), list(y.shape)] for x, y in loader]


if __name__ == "__main__":
    jobs.main("torchvision")
