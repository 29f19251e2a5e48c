"""kornia: colours, filters, geometry, morphology, metrics, losses and features."""

from __future__ import annotations

from typing import Any

import jobs
import kornia
import torch
from jobs import even, job, rng, tensor
from kornia import color, enhance, feature, filters, geometry, losses, metrics, morphology


def image(*shape: int, seed: int = 0) -> Any:
    return tensor(*(shape or (2, 3, 12, 14)), seed=seed).sigmoid()


@job
def colours() -> Any:
    """Ten colour spaces, there and back, sepia and a colour map."""
    x = image()
    names = (
        "rgb_to_grayscale",
        "rgb_to_hsv",
        "rgb_to_hls",
        "rgb_to_lab",
        "rgb_to_luv",
        "rgb_to_ycbcr",
        "rgb_to_yuv",
        "rgb_to_xyz",
        "rgb_to_linear_rgb",
        "rgb_to_bgr",
    )
    made = {name: getattr(color, name)(x) for name in names}
    back = {
        n: getattr(color, f"{n}_to_rgb")(made[f"rgb_to_{n}"])
        for n in ("hsv", "hls", "lab", "luv", "ycbcr", "yuv", "xyz")
    }
    return (
        made,
        back,
        color.sepia(x),
        color.apply_colormap((image(1, 1, 5, 5) * 255).round(), color.ColorMap("viridis")),
    )


@job
def smoothing() -> Any:
    """Gaussian, box, median, motion, bilateral and guided blurs, with gradients."""
    x = image().requires_grad_()
    out = [
        filters.gaussian_blur2d(x, (5, 3), (1.5, 1.0)),
        filters.box_blur(x, (3, 3)),
        filters.median_blur(x, (3, 3)),
        filters.motion_blur(x, 5, 35.0, 0.5),
        filters.unsharp_mask(x, (3, 3), (1.0, 1.0)),
        filters.bilateral_blur(x, (3, 3), 0.1, (1.5, 1.5)),
        filters.max_blur_pool2d(x, 3),
        filters.guided_blur(x, x, 3, 0.1),
        filters.blur_pool2d(x, 3),
    ]
    sum(o.square().sum() for o in out).backward()
    return out, x.grad


@job
def edges() -> Any:
    """Sobel, Laplacian, Canny and filters in two and three dimensions, with gradients."""
    x = image().requires_grad_()
    magnitude, canny = filters.canny(x, hysteresis=False)
    out = [
        filters.sobel(x),
        filters.spatial_gradient(x),
        filters.laplacian(x, 3),
        magnitude,
        filters.spatial_gradient3d(image(1, 1, 4, 5, 5)),
        filters.filter2d(x, tensor(1, 3, 3)),
        filters.filter2d_separable(x, tensor(1, 3), tensor(1, 5, seed=1)),
        filters.filter3d(image(1, 1, 4, 5, 5), tensor(1, 3, 3, 3)),
    ]
    sum(o.square().sum() for o in out).backward()
    return out, canny, x.grad


@job
def warping() -> Any:
    """Rotations, affine and perspective warps, resizing, pyramids, with gradients."""
    x = image().requires_grad_()
    angle = torch.tensor([20.0, -35.0]).to(jobs.DEVICE)
    center = torch.tensor([[6.0, 5.0], [7.0, 6.0]]).to(jobs.DEVICE)
    matrix = geometry.get_rotation_matrix2d(center, angle, torch.ones_like(center) * 0.9)
    corners = torch.tensor([[[0.0, 0], [13, 0], [13, 11], [0, 11]]]).to(jobs.DEVICE).repeat(2, 1, 1)
    plane = geometry.get_perspective_transform(corners, corners + 0.5 * tensor(2, 4, 2))
    out = [
        geometry.rotate(x, angle),
        geometry.translate(x, center - 5),
        geometry.scale(x, 1 + center / 20),
        geometry.shear(x, center / 30),
        geometry.warp_affine(x, matrix, (10, 9)),
        geometry.warp_perspective(x, plane, (12, 14)),
        geometry.resize(x, (7, 9)),
        geometry.rescale(x, 1.5),
        geometry.hflip(x),
        geometry.rot180(x),
        geometry.center_crop(x, (6, 6)),
        geometry.pyrdown(x),
        geometry.pyrup(x),
        geometry.crop_and_resize(x, corners * 0.5 + 1, (5, 6)),
        geometry.elastic_transform2d(x, tensor(2, 2, 12, 14).clamp(-1, 1)),
        *geometry.build_pyramid(x, 2),
    ]
    sum(o.square().sum() for o in out).backward()
    return matrix, plane, out, x.grad


@job
def conversions() -> Any:
    """Quaternions, rotation matrices, axis and angle, homogeneous points."""
    q = torch.nn.functional.normalize(tensor(5, 4), dim=-1)
    r = geometry.quaternion_to_rotation_matrix(q)
    a = geometry.quaternion_to_axis_angle(q)
    points = tensor(2, 5, 3)
    return [
        r,
        a,
        geometry.rotation_matrix_to_quaternion(r),
        geometry.axis_angle_to_rotation_matrix(a),
        geometry.axis_angle_to_quaternion(a),
        geometry.convert_points_to_homogeneous(points),
        geometry.convert_points_from_homogeneous(points),
        geometry.rad2deg(points),
        geometry.pol2cart(points[..., 0].abs(), points[..., 1]),
        geometry.angle_to_rotation_matrix(points[..., 0]),
        geometry.normalize_pixel_coordinates(points[..., :2], 4, 5),
        kornia.utils.create_meshgrid(3, 4, device=torch.device(jobs.DEVICE)),
    ]


@job
def epipolar() -> Any:
    """Homographies, fundamental matrices, depth and projection."""
    one = tensor(1, 12, 2)
    h = torch.eye(3).to(jobs.DEVICE)[None] + 0.1 * tensor(1, 3, 3, seed=1)
    two = geometry.transform_points(h, one)
    found = geometry.find_homography_dlt(one, two)
    noisy = two.cpu().double() + 0.01 * tensor(1, 12, 2, seed=2).cpu().double()
    f = geometry.find_fundamental(one.cpu().double(), noisy)
    camera = torch.tensor([[[100.0, 0, 8], [0, 100, 6], [0, 0, 1]]]).to(jobs.DEVICE)
    depth = 1 + image(1, 1, 6, 8)
    return [
        found,
        f.abs(),
        geometry.epipolar.sampson_epipolar_distance(one, two, h),
        geometry.epipolar.cross_product_matrix(tensor(2, 3)),
        geometry.depth_to_3d_v2(depth[:, 0], camera),
        geometry.depth_to_normals(depth, camera),
        geometry.project_points(tensor(1, 5, 3) + 5, camera[:, None].expand(1, 5, 3, 3)),
    ]


@job
def enhancing() -> Any:
    """Brightness, contrast, hue, equalization, histograms, a differentiable JPEG."""
    x = image()
    return [
        enhance.adjust_brightness(x, 0.2),
        enhance.adjust_contrast(x, 0.7),
        enhance.adjust_hue(x, 0.3),
        enhance.adjust_saturation(x, 1.5),
        enhance.adjust_gamma(x, 0.7),
        enhance.equalize(x),
        enhance.invert(x),
        enhance.posterize(x, 3),
        enhance.sharpness(x, 1.5),
        enhance.solarize(x, 0.4),
        enhance.equalize_clahe(image(1, 1, 16, 16), grid_size=(4, 4)),
        enhance.normalize(x, torch.tensor([0.5] * 3).to(jobs.DEVICE), torch.tensor([0.2] * 3).to(jobs.DEVICE)),
        enhance.normalize_min_max(x),
        enhance.histogram(
            x[:, 0].flatten(1), torch.linspace(0, 1, 6).to(jobs.DEVICE), torch.tensor(0.1).to(jobs.DEVICE)
        ),
        enhance.zca_mean(tensor(8, 3))[0].abs(),
        enhance.integral_image(x),
        enhance.jpeg_codec_differentiable(image(1, 3, 16, 16), torch.tensor([50.0]).to(jobs.DEVICE)),
    ]


@job
def morphing() -> Any:
    """Dilation, erosion and what is made of them, with gradients."""
    x, kernel = image().requires_grad_(), torch.ones(3, 3).to(jobs.DEVICE)
    out = [
        getattr(morphology, n)(x, kernel)
        for n in ("dilation", "erosion", "opening", "closing", "gradient", "top_hat", "bottom_hat")
    ]
    sum(o.sum() for o in out).backward()
    return out, x.grad


@job
def losing() -> Any:
    """Thirteen losses of images and segmentations, with gradients."""
    x, y = image().requires_grad_(), image(seed=1)
    logits = tensor(2, 4, 6, 6, grad=True)
    labels = torch.from_numpy(rng(1).integers(0, 4, (2, 6, 6))).to(jobs.DEVICE)
    found = [
        losses.ssim_loss(x, y, 5),
        losses.psnr_loss(x, y, 1.0),
        losses.total_variation(x).mean(),
        losses.charbonnier_loss(x, y, "mean"),
        losses.dice_loss(logits, labels),
        losses.tversky_loss(logits, labels, 0.5, 0.5),
        losses.focal_loss(logits, labels, 0.5, 2.0, "mean"),
        losses.js_div_loss_2d(x, y),
        losses.kl_div_loss_2d(x, y),
        losses.inverse_depth_smoothness_loss(x[:, :1], y),
        losses.cauchy_loss(x, y, "mean"),
        losses.lovasz_softmax_loss(logits, labels),
        losses.MS_SSIMLoss(sigmas=[0.5, 1.0], data_range=1.0)(x, y).mean(),
    ]
    sum(found).backward()
    return found, x.grad, logits.grad


@job
def measuring() -> Any:
    """SSIM, PSNR, confusion matrix, overlap, accuracy, end point error."""
    a, b = image(), image(seed=1)
    labels, other = ((image(2, 9, seed=s) * 3).long() for s in (1, 2))
    return [
        metrics.ssim(a, b, 5),
        metrics.psnr(a, b, 1.0),
        metrics.confusion_matrix(labels, other, 3),
        metrics.mean_iou(labels, other, 3),
        metrics.accuracy(tensor(6, 4), labels[0, :6], topk=(1,)),
        metrics.aepe(tensor(2, 4, 5, 2), tensor(2, 4, 5, 2, seed=1)),
    ]


@job
def features() -> Any:
    """Corner responses, SIFT and HardNet descriptors, patches, matches."""
    x = image(1, 1, 32, 32)
    patches = image(4, 1, 32, 32)
    frames = feature.laf_from_center_scale_ori(
        16 * torch.ones(1, 2, 2).to(jobs.DEVICE), 4 * torch.ones(1, 2, 1, 1).to(jobs.DEVICE)
    )
    one, two = tensor(6, 8), tensor(7, 8, seed=1)
    net = even(feature.HardNet(pretrained=False)).eval()
    return [
        feature.harris_response(x),
        feature.gftt_response(x),
        feature.hessian_response(x),
        feature.dog_response_single(x),
        feature.SIFTDescriptor(32)(patches),
        net(patches),
        feature.extract_patches_from_pyramid(x, frames, 8),
        feature.match_nn(one, two),
        feature.match_mnn(one, two),
        feature.nms2d(x, (3, 3)) if hasattr(feature, "nms2d") else geometry.nms2d(x, (3, 3)),
        feature.laf_is_inside_image(frames, x),
        feature.DenseSIFTDescriptor()(x),
    ]


@job
def subpixel() -> Any:
    """Spatial softmax and expectations, with gradients."""
    heat = tensor(1, 2, 6, 7, grad=True)
    out = [
        geometry.spatial_softmax2d(heat),
        geometry.spatial_expectation2d(geometry.spatial_softmax2d(heat)),
        geometry.conv_soft_argmax2d(heat)[0]
        if isinstance(geometry.conv_soft_argmax2d(heat), tuple)
        else geometry.conv_soft_argmax2d(heat),
        kornia.utils.one_hot(torch.tensor([[1, 0]]).to(jobs.DEVICE), 3, torch.device(jobs.DEVICE), torch.float32)
        + 0 * heat.sum(),
    ]
    sum(o.square().sum() for o in out).backward()
    return out, heat.grad


@job
def augmenting() -> Any:
    """Where numbers are drawn, with chance left out."""
    x = image()
    chain = kornia.augmentation.AugmentationSequential(
        kornia.augmentation.RandomHorizontalFlip(p=1.0),
        kornia.augmentation.RandomRotation((30.0, 30.0), p=1.0),
        kornia.augmentation.RandomAffine((10.0, 10.0), p=1.0),
        kornia.augmentation.CenterCrop(8),
        kornia.augmentation.Normalize(torch.tensor([0.5] * 3), torch.tensor([0.2] * 3)),
        data_keys=["input", "mask"],
    )
    out, mask = chain(x, image(2, 1, 12, 14, seed=1))
    drawn = kornia.augmentation.ColorJiggle(0.2, 0.2, 0.2, 0.1, p=1.0)(x)
    return out, mask, list(drawn.shape), bool((drawn >= 0).all() and (drawn <= 1).all())


if __name__ == "__main__":
    jobs.main("kornia")
