"""Pyro finds by SVI and by NUTS a posterior that is known in closed form:

    python -m flambeau run examples/ecosystem/pyro_posterior.py

Linear regression with normal weights and noise of known size: the posterior of the weights is normal, with precision
XᵀX/σ² + 1/τ² (Bishop, "Pattern recognition and machine learning", 2006, section 3.3). Variational inference: Hoffman
et al., arXiv:1206.7051; the sampler: Hoffman & Gelman, arXiv:1111.4246.
"""

from __future__ import annotations

import os

os.environ.setdefault("FLAMBEAU_FALLBACK", "allow")  # to the CPU for what OpenCL lacks: systems of linear equations

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO
from pyro.infer.autoguide import AutoMultivariateNormal
from shared import options

NOISE, WIDE = 0.5, 2.0
Moments = tuple[np.ndarray, np.ndarray]


def data() -> tuple[np.ndarray, np.ndarray]:
    """Thirty points with three features, two of which go together, and what was measured there."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 3))
    x[:, 1] = 0.8 * x[:, 0] + 0.6 * x[:, 1]
    return x, x @ [1.0, -2.0, 0.5] + NOISE * rng.standard_normal(30)


def closed_form(x: np.ndarray, y: np.ndarray) -> Moments:
    """Mean (3,) and covariance (3, 3) of the weights."""
    covariance = np.linalg.inv(x.T @ x / NOISE**2 + np.eye(3) / WIDE**2)
    return covariance @ x.T @ y / NOISE**2, covariance


def model(x: torch.Tensor, y: torch.Tensor) -> None:
    """Weights, and what is measured with them, for any number of draws at once."""
    weights = pyro.sample("weights", dist.Normal(torch.zeros(3), WIDE).to_event(1))
    with pyro.plate("points", len(x)):
        pyro.sample("y", dist.Normal((x * weights).sum(-1), NOISE), obs=y)


def variational(x: torch.Tensor, y: torch.Tensor, quick: bool) -> Moments:
    """The moments of the normal distribution that has the highest bound of the evidence."""
    pyro.clear_param_store()
    guide = AutoMultivariateNormal(model, init_scale=0.3)
    steps = 300 if quick else 1500
    optimizer = pyro.optim.ClippedAdam({"lr": 0.1 if quick else 0.03, "lrd": 0.03 ** (1 / steps)})
    inference = SVI(model, guide, optimizer, Trace_ELBO(num_particles=4, vectorize_particles=True, max_plate_nesting=1))
    for step in range(steps):
        loss = inference.step(x, y)
        if step % (steps // 5) == 0:
            print(f"SVI step {step:4}  loss {loss:.3f}")
    found = guide.get_posterior()
    return found.mean.detach().cpu().numpy(), found.covariance_matrix.detach().cpu().numpy()


def sampled(x: torch.Tensor, y: torch.Tensor, quick: bool) -> Moments:
    """The moments of samples."""
    chain = MCMC(
        NUTS(model, jit_compile=False), num_samples=100 if quick else 600, warmup_steps=50 if quick else 150,
        disable_progbar=True,
    )  # fmt: skip
    chain.run(x, y)
    weights = chain.get_samples()["weights"].cpu().numpy()
    return weights.mean(0), np.cov(weights.T)


def main(quick: bool = False, device: str = "cpu") -> float:
    """Infer in both ways, print what they find, and return how far a mean is off, in standard deviations."""
    torch.set_default_device(device)
    pyro.set_rng_seed(0)
    points = data()
    x, y = (torch.tensor(a, dtype=torch.float32) for a in points)
    found = {
        "closed form": closed_form(*points),
        "SVI": variational(x, y, quick),
        "NUTS": sampled(x, y, quick),
    }
    print(f"on {x.device}:    mean of each weight      standard deviation      correlation of the first two")
    for name, (mean, covariance) in found.items():
        deviation = np.sqrt(np.diag(covariance))
        together = covariance[0, 1] / (deviation[0] * deviation[1])
        print(f"{name:12}" + "".join(f"{v:8.3f}" for v in [*mean, *deviation, together]))
    right, spread = found["closed form"][0], np.sqrt(np.diag(found["closed form"][1]))
    off = max(float((np.abs(found[name][0] - right) / spread).max()) for name in ("SVI", "NUTS"))
    print(f"a mean is off by at most {off:.2f} standard deviations of the posterior")
    return off


if __name__ == "__main__":
    chosen = options(__doc__, "opencl")
    main(chosen.quick, chosen.device)
