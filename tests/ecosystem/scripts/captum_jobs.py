"""Captum: attributions of inputs, layers and neurons, and what they are measured by."""

from __future__ import annotations

from typing import Any

import jobs
import torch
from captum import attr, metrics
from jobs import even, job, tensor
from torch import nn


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.relu = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.relu2 = nn.ReLU()
        self.head = nn.Linear(4 * 4 * 4, 3)

    def forward(self, x: Any) -> Any:
        x = self.pool(self.relu(self.conv(x)))
        return self.head(self.relu2(self.conv2(x)).flatten(1))


def net() -> Any:
    return even(Net()).eval()


def image(seed: int = 0) -> Any:
    return tensor(2, 2, 8, 8, seed=seed)


def target() -> Any:
    return torch.tensor([0, 2]).to(jobs.DEVICE)


@job
def integrated_gradients() -> Any:
    """Integrated gradients by five quadratures, with baselines, in parts."""
    method = attr.IntegratedGradients(net())
    answers = [
        method.attribute(image(), target=target(), n_steps=20, method=m)
        for m in ("gausslegendre", "riemann_trapezoid", "riemann_middle", "riemann_left", "riemann_right")
    ]
    found, delta = method.attribute(image(), image(1), target=1, n_steps=30, return_convergence_delta=True)
    parts = method.attribute(image(), target=1, n_steps=10, internal_batch_size=5)
    return answers, found, parts, delta.abs().max().item() < 0.5


@job
def by_gradients() -> Any:
    """Saliency, deconvolution, guided backpropagation, GradCAM, relevance propagation."""
    model = net()
    return {
        "saliency": attr.Saliency(model).attribute(image(), target=target()),
        "signed": attr.Saliency(model).attribute(image(), target=target(), abs=False),
        "times_gradient": attr.InputXGradient(model).attribute(image(), target=target()),
        "deconvolution": attr.Deconvolution(model).attribute(image(), target=target()),
        "guided": attr.GuidedBackprop(model).attribute(image(), target=target()),
        "grad_cam": attr.GuidedGradCam(model, model.conv2).attribute(image(), target=target()),
        "lrp": attr.LRP(model).attribute(image(), target=target()),
    }


@job
def deep_lift() -> Any:
    """DeepLIFT and DeepLIFT SHAP beside their baselines."""
    model = net()
    found, delta = attr.DeepLift(model).attribute(image(), image(1), target=target(), return_convergence_delta=True)
    return found, delta, attr.DeepLiftShap(model).attribute(image(), tensor(3, 2, 8, 8, seed=2), target=target())


@job
def by_perturbation() -> Any:
    """Occlusion, ablation and Shapley values of groups of pixels."""
    model = net()
    mask = (torch.arange(64).reshape(1, 1, 8, 8) // 16).to(jobs.DEVICE)
    return {
        "occlusion": attr.Occlusion(model).attribute(image(), (2, 4, 4), target=target(), strides=(2, 4, 4)),
        "ablation": attr.FeatureAblation(model).attribute(image(), target=target(), feature_mask=mask),
        "shapley": attr.ShapleyValues(model).attribute(image(), target=target(), feature_mask=mask).shape,
    }


@job
def of_layers() -> Any:
    """Attributions of layers: GradCAM, activations, conductance, influence, DeepLIFT."""
    model = net()
    return {
        "grad_cam": attr.LayerGradCam(model, model.conv2).attribute(image(), target=target()),
        "upsampled": attr.LayerAttribution.interpolate(
            attr.LayerGradCam(model, model.conv2).attribute(image(), target=target()), (8, 8), "bilinear"
        ),
        "activation": attr.LayerActivation(model, model.relu).attribute(image()),
        "times": attr.LayerGradientXActivation(model, model.relu).attribute(image(), target=target()),
        "integrated": attr.LayerIntegratedGradients(model, model.conv2).attribute(image(), target=1, n_steps=10),
        "conductance": attr.LayerConductance(model, model.pool).attribute(image(), target=1, n_steps=10),
        "influence": attr.InternalInfluence(model, model.pool).attribute(image(), target=1, n_steps=10),
        "deep_lift": attr.LayerDeepLift(model, model.conv2).attribute(image(), target=1),
    }


@job
def of_neurons() -> Any:
    """Attributions of the inputs to one neuron."""
    model = net()
    return {
        "gradient": attr.NeuronGradient(model, model.conv2).attribute(image(), (1, 2, 2)),
        "integrated": attr.NeuronIntegratedGradients(model, model.conv2).attribute(image(), (1, 2, 2), n_steps=10),
        "conductance": attr.NeuronConductance(model, model.conv2).attribute(image(), (1, 2, 2), target=1, n_steps=10),
        "guided": attr.NeuronGuidedBackprop(model, model.conv2).attribute(image(), (1, 2, 2)),
    }


@job
def noise_tunnel_without_noise() -> Any:
    """Squared SmoothGrad over copies of an image."""
    return attr.NoiseTunnel(attr.Saliency(net())).attribute(
        image(), target=target(), nt_samples=3, stdevs=0.0, nt_type="smoothgrad_sq"
    )


@job
def embeddings() -> Any:
    """Attributions of an embedding layer, and the layer taken out and put back."""
    torch.manual_seed(0)
    model = even(nn.Sequential(nn.Embedding(7, 4), nn.Flatten(), nn.Linear(12, 2)))
    words = torch.tensor([[1, 2, 3], [4, 5, 6]]).to(jobs.DEVICE)
    found = attr.LayerIntegratedGradients(model, model[0]).attribute(words, words * 0, target=1, n_steps=10)
    wrapped = attr.configure_interpretable_embedding_layer(model, "0")
    numbers = wrapped.indices_to_embeddings(words)
    attr.remove_interpretable_embedding_layer(model, wrapped)
    return found, numbers


@job
def measures() -> Any:
    """Infidelity and sensitivity of an attribution."""
    model = net()
    found = attr.Saliency(model).attribute(image(), target=target())

    def nudge(x: Any) -> tuple[Any, Any]:
        step = 0.01 * torch.ones_like(x)
        return step, x - step

    sensitivity = metrics.sensitivity_max(
        attr.Saliency(model).attribute,
        image(),
        perturb_func=lambda x: x + 0.01,
        target=0,
        n_perturb_samples=1,
    )
    return metrics.infidelity(model, nudge, image(), found, target=target(), n_perturb_samples=1), sensitivity


if __name__ == "__main__":
    jobs.main("captum")
