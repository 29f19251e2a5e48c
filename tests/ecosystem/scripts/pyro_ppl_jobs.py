"""Pyro: densities, handlers, SVI with every common guide, enumeration, MCMC, prediction, Gaussian processes.

Where noise enters a loss, numpy makes it (``numpy_noise``); samplers, whose numbers are each framework's own, answer
with whether they came near what is known in closed form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jobs
import numpy as np
import pyro
import pyro.distributions as dist
import torch
from jobs import job, rng, tensor, whole
from pyro import poutine
from pyro.distributions import constraints
from pyro.infer import (
    HMC,
    MCMC,
    NUTS,
    SVI,
    Predictive,
    RenyiELBO,
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
    config_enumerate,
    infer_discrete,
)
from pyro.infer.autoguide import (
    AutoDelta,
    AutoDiagonalNormal,
    AutoGuideList,
    AutoIAFNormal,
    AutoLaplaceApproximation,
    AutoLowRankMultivariateNormal,
    AutoMultivariateNormal,
    AutoNormal,
)
from pyro.infer.autoguide.initialization import init_to_value
from pyro.infer.reparam import LocScaleReparam
from pyro.nn import AutoRegressiveNN, PyroModule, PyroParam, PyroSample
from torch import nn


def on(value: Any) -> Any:
    return torch.tensor(value, dtype=torch.float32, device=jobs.DEVICE)


@contextmanager
def numpy_noise(seed: int = 0) -> Iterator[None]:
    """Reparameterised normal families draw their standard normals from numpy."""
    numbers = rng(seed)

    def noise(shape: Any) -> Any:
        return torch.from_numpy(numbers.standard_normal(tuple(shape)).astype(np.float32)).to(jobs.DEVICE)

    def normal(self: Any, sample_shape: Any = ()) -> Any:
        return self.loc + self.scale * noise(self._extended_shape(torch.Size(sample_shape)))

    def multivariate(self: Any, sample_shape: Any = ()) -> Any:
        eps = noise(self._extended_shape(torch.Size(sample_shape)))
        return self.loc + (self.scale_tril @ eps.unsqueeze(-1)).squeeze(-1)

    def low_rank(self: Any, sample_shape: Any = ()) -> Any:
        shape = self._extended_shape(torch.Size(sample_shape))
        wide = noise(shape[:-1] + self.cov_factor.shape[-1:])
        return self.loc + (self.cov_factor @ wide.unsqueeze(-1)).squeeze(-1) + self.cov_diag.sqrt() * noise(shape)

    patched = {dist.Normal: normal, dist.MultivariateNormal: multivariate, dist.LowRankMultivariateNormal: low_rank}
    kept = {(kind, name): kind.__dict__.get(name) for kind in patched for name in ("sample", "rsample")}
    for kind, rsample in patched.items():
        kind.rsample, kind.sample = rsample, torch.no_grad()(rsample)
    try:
        yield
    finally:
        for (kind, name), was in kept.items():
            if was is None:
                delattr(kind, name)
            else:
                setattr(kind, name, was)


def data(n: int = 20) -> tuple[Any, Any]:
    x = tensor(n, 3, seed=1)
    return x, x @ on([0.5, -1.0, 2.0]) + 0.3 + 0.1 * tensor(n, seed=2)


def regression(x: Any, y: Any = None) -> Any:
    weight = pyro.sample("weight", dist.Normal(on([0.0] * 3), 1.0).to_event(1))
    bias = pyro.sample("bias", dist.Normal(on(0.0), 10.0))
    sigma = pyro.sample("sigma", dist.LogNormal(on(-1.0), 1.0))
    mean = pyro.deterministic("mean", x @ weight + bias)
    with pyro.plate("data", len(x)):
        return pyro.sample("obs", dist.Normal(mean, sigma), obs=y)


START = {"weight": [0.1, -0.2, 0.3], "bias": 0.2, "sigma": 0.5}


def start() -> Any:
    return init_to_value(values={k: on(v) for k, v in START.items()})


def fit(model: Callable[..., Any], guide: Any, *args: Any, loss: Any = None, steps: int = 15, optim: Any = None) -> Any:
    """The losses of a few steps, and the parameters after them."""
    svi = SVI(model, guide, optim or pyro.optim.Adam({"lr": 0.02}), loss or Trace_ELBO())
    with numpy_noise():
        losses = [float(svi.step(*args)) for _ in range(steps)]
    store = pyro.get_param_store()
    return losses, {name: store[name] for name in sorted(store)}


def guided(guide: Callable[..., Any], **more: Any) -> Any:
    pyro.clear_param_store()
    return fit(regression, guide(regression, init_loc_fn=start()), *data(), **more)


def near(found: Any, wanted: Any, tolerance: float) -> bool:
    return bool((torch.as_tensor(found).cpu() - torch.as_tensor(wanted).cpu()).abs().max() < tolerance)


@job
def densities_of_a_trace() -> Any:
    """The log-density of each site of a regression."""
    x, y = data()
    latents = {k: on(v) for k, v in START.items()}
    trace = poutine.trace(poutine.condition(regression, latents)).get_trace(x, y)
    trace.compute_log_prob()
    return {n: s["log_prob"] for n, s in trace.nodes.items() if "log_prob" in s}, trace.log_prob_sum()


@job
def densities_of_pyros_own_distributions() -> Any:
    """Log-densities of the 23 distributions that Pyro adds."""
    positive = tensor(4, seed=3).abs() + 0.1
    unit = torch.sigmoid(tensor(4, seed=4))
    matrix = tensor(3, 3, seed=5)
    spd = matrix @ matrix.T + 3 * torch.eye(3, device=jobs.DEVICE)
    order = tensor(4, 5, seed=6)
    direction = order / order.norm(dim=-1, keepdim=True)
    counts = whole(6, 4).float()
    with torch.device(jobs.DEVICE):  # the roots of the integrals of Stable are torch.as_tensor(...)
        return {
            "delta": dist.Delta(unit).log_prob(unit),
            "asymmetric_laplace": dist.AsymmetricLaplace(unit, positive, 1.5).log_prob(order[:, 0]),
            "soft_laplace": dist.SoftLaplace(unit, positive).log_prob(order[:, 0]),
            "skew": dist.SineSkewed(dist.VonMises(on([0.0]), on([1.5])).to_event(1), on([0.3])).log_prob(unit[:, None]),
            "beta_binomial": dist.BetaBinomial(positive, 2.0, 6).log_prob(counts),
            "dirichlet_multinomial": dist.DirichletMultinomial(positive[:3], 12).log_prob(on([3.0, 4.0, 5.0])),
            "gamma_poisson": dist.GammaPoisson(positive, 2.0).log_prob(counts),
            "zero_inflated": dist.ZeroInflatedPoisson(positive, gate=on(0.2)).log_prob(counts),
            "zero_inflated_nb": dist.ZeroInflatedNegativeBinomial(5, logits=order[:, 0], gate=on(0.2)).log_prob(counts),
            "projected_normal": dist.ProjectedNormal(on([0.3, 0.2, 0.1])).log_prob(
                direction[:, :3] / direction[:, :3].norm(dim=-1, keepdim=True)
            ),
            "lkj": dist.LKJCholesky(3, on(1.5)).log_prob(
                torch.linalg.cholesky(on([[1, 0.2, 0.1], [0.2, 1, 0.3], [0.1, 0.3, 1]]))
            ),
            "truncated_polya": dist.TruncatedPolyaGamma(on([1.0])).log_prob(on([0.3])),
            "stable": dist.Stable(on(1.5), on(0.1)).log_prob(order[:, 0]),
            "inverse_gamma": dist.InverseGamma(positive, 2.0).log_prob(positive),
            "logistic": dist.Logistic(unit, positive).log_prob(order[:, 0]),
            "log_normal_nb": dist.LogNormalNegativeBinomial(5.0, order[:, 0], on(0.3)).log_prob(counts),
            "mvt": dist.MultivariateStudentT(on(4.0), on([0.0] * 3), torch.linalg.cholesky(spd)).log_prob(order[:, :3]),
            "omt": dist.OMTMultivariateNormal(on([0.0] * 3), torch.linalg.cholesky(spd)).log_prob(order[:, :3]),
            "mixture": dist.MixtureOfDiagNormals(
                order[:3, :2], positive[:3, None].expand(3, 2), on([0.1, 0.2, 0.3])
            ).log_prob(order[:, :2]),
            "ordered": dist.OrderedLogistic(order[:, 0], on([-0.5, 0.1, 0.7])).log_prob(whole(4, 4)),
            "gaussian_hmm": dist.GaussianHMM(
                dist.MultivariateNormal(on([0.0] * 3), spd),
                matrix / 3,
                dist.MultivariateNormal(on([0.1] * 3), spd),
                matrix[:, :2],
                dist.Normal(on([0.0, 0.0]), 1.0).to_event(1),
                duration=4,
            ).log_prob(order[:, :2]),
            "discrete_hmm": dist.DiscreteHMM(order[0, :3], order[:3, :3], dist.Normal(order[1, :3], 1.0)).log_prob(
                order[:, 0]
            ),
            "spanning_tree": dist.SpanningTree(on([0.1, 0.5, -0.3])).log_prob(
                torch.tensor([[0, 1], [1, 2]], device=jobs.DEVICE)
            ),
        }


@job
def transforms_and_flows() -> Any:
    """Nine normalizing flows and their log-determinants."""
    x = tensor(4, 3)
    parts = {}
    torch.manual_seed(0)
    for name, t in {
        "affine_autoregressive": dist.transforms.AffineAutoregressive(
            AutoRegressiveNN(3, [8], permutation=torch.arange(3))
        ),
        "planar": dist.transforms.planar(3),
        "radial": dist.transforms.radial(3),
        "spline": dist.transforms.spline(3),
        "householder": dist.transforms.householder(3),
        "batchnorm": dist.transforms.batchnorm(3),
        "sylvester": dist.transforms.sylvester(3, 2),
        "affine_coupling": dist.transforms.affine_coupling(3, hidden_dims=[8]),
        "matrix_exponential": dist.transforms.matrix_exponential(3),
    }.items():
        jobs.even(t, seed=7, scale=0.5)
        if name == "batchnorm":
            t.eval()
        with torch.device(jobs.DEVICE):  # the sylvester flow has a torch.eye(n) of its own
            out = t(x)
        parts[name] = [out, t.log_abs_det_jacobian(x, out)]
    return parts


@job
def handlers() -> Any:
    """condition, scale, mask, block, replay, do, lift, seed, reparam, substitute."""
    x, y = data(6)
    latents = {k: on(v) for k, v in START.items()}
    conditioned = poutine.condition(regression, latents)
    scaled = poutine.trace(poutine.scale(conditioned, 0.5)).get_trace(x, y).log_prob_sum()
    masked = poutine.trace(poutine.mask(conditioned, mask=torch.tensor(False))).get_trace(x, y).log_prob_sum()
    blocked = poutine.trace(poutine.block(conditioned, hide=["weight"])).get_trace(x, y)
    free = poutine.trace(regression).get_trace(x, y)
    replayed = poutine.trace(poutine.replay(regression, free)).get_trace(x, y)
    forced = poutine.trace(poutine.do(conditioned, data={"bias": on(3.0)})).get_trace(x)
    lifted = poutine.lift(lambda: pyro.param("p", on(1.0)), prior=dist.Normal(0.0, 1.0))
    seeded = [poutine.seed(lambda: pyro.sample("s", dist.Normal(on(0.0), 1.0)), rng_seed=3)() for _ in range(2)]
    with poutine.uncondition():
        loose = poutine.trace(regression).get_trace(x, y).nodes["obs"]["is_observed"]
    reparam = poutine.trace(poutine.reparam(regression, {"bias": LocScaleReparam(0.0)})).get_trace(x)
    given = poutine.substitute(lambda: pyro.param("q", on(1.0)), data={"q": on(5.0)})()
    return [
        scaled,
        masked,
        sorted(blocked.nodes),
        bool(replayed.nodes["bias"]["value"] == free.nodes["bias"]["value"]),
        forced.nodes["mean"]["value"],
        poutine.trace(lifted).get_trace().nodes["p"]["type"],
        bool(seeded[0] == seeded[1]),
        loose,
        sorted(reparam.nodes),
        given,
    ]


@job
def plates_and_subsampling() -> Any:
    """Nested plates, subsamples and factors in one density."""
    _x, y = data(8)

    def model() -> Any:
        with pyro.plate("outer", 4, dim=-2), pyro.plate("inner", 2, dim=-1):
            a = pyro.sample("a", dist.Normal(on(0.0), 1.0))
        with pyro.plate("part", 8, subsample=torch.tensor([1, 3], device=jobs.DEVICE)) as picked:
            pyro.sample("b", dist.Normal(on(0.0), 1.0), obs=y[picked])
        for i in pyro.plate("loop", 3):
            pyro.factor(f"f{i}", on(float(i)))
        return a

    trace = poutine.trace(poutine.condition(model, {"a": tensor(4, 2, seed=3)})).get_trace()
    return trace.log_prob_sum(), trace.format_shapes()


@job
def guide_auto_normal() -> Any:
    """SVI with AutoNormal: losses and parameters."""
    return guided(AutoNormal)


@job
def guide_auto_delta() -> Any:
    """SVI with AutoDelta: losses and parameters."""
    return guided(AutoDelta)


@job
def guide_auto_diagonal_normal() -> Any:
    """SVI with AutoDiagonalNormal: losses and parameters."""
    return guided(AutoDiagonalNormal)


@job
def guide_auto_multivariate_normal() -> Any:
    """SVI with AutoMultivariateNormal: losses and parameters."""
    return guided(AutoMultivariateNormal)


@job
def guide_auto_low_rank() -> Any:
    """SVI with AutoLowRankMultivariateNormal: losses and parameters."""
    pyro.clear_param_store()
    guide = AutoLowRankMultivariateNormal(regression, rank=2, init_loc_fn=start())
    with numpy_noise():
        guide(*data())
    guide.cov_factor.data.copy_(0.1 * tensor(5, 2, seed=9))
    return fit(regression, guide, *data())


@job
def guide_auto_laplace() -> Any:
    """SVI with AutoLaplaceApproximation: losses, covariance and quantiles."""
    pyro.clear_param_store()
    y = tensor(10, 2, seed=4)
    guide = AutoLaplaceApproximation(conjugate, init_loc_fn=init_to_value(values={"mean": on([0.2, 0.4])}))
    losses, params = fit(conjugate, guide, y)
    normal = guide.laplace_approximation(y)
    return losses, params, normal.get_posterior().covariance_matrix, normal.quantiles([0.25, 0.75], y)


@job
def guide_list_and_iaf() -> Any:
    """SVI with a list of guides and with an inverse autoregressive flow."""
    pyro.clear_param_store()
    guide = AutoGuideList(regression)
    guide.append(AutoNormal(poutine.block(regression, expose=["weight"]), init_loc_fn=start()))
    guide.append(AutoDelta(poutine.block(regression, expose=["bias", "sigma"]), init_loc_fn=start()))
    first = fit(regression, guide, *data())
    pyro.clear_param_store()
    torch.manual_seed(0)
    flow = AutoIAFNormal(regression, hidden_dim=[8], num_transforms=1, init_loc_fn=start())
    with torch.device(jobs.DEVICE):  # its base distribution is made of torch.zeros(1)
        losses, _ = fit(regression, flow, *data(), steps=5)
    return first, len(losses), all(math.isfinite(v) for v in losses)


@job
def losses() -> Any:
    """Five estimators of the evidence bound, with few and many particles."""
    kinds = {
        "mean_field": TraceMeanField_ELBO(),
        "graph": TraceGraph_ELBO(),
        "particles": Trace_ELBO(num_particles=4),
        "vectorised": Trace_ELBO(num_particles=4, vectorize_particles=True),
        "renyi": RenyiELBO(alpha=0.5, num_particles=3),
    }

    def model(y: Any) -> None:
        z = pyro.sample("z", dist.Normal(on(0.0), 1.0))
        with pyro.plate("n", len(y)):
            pyro.sample("y", dist.Normal(z, 0.5), obs=y)

    answers = {}
    for name, loss in kinds.items():
        pyro.clear_param_store()
        answers[name] = fit(
            model, AutoNormal(model, init_loc_fn=init_to_value(values={"z": on(0.1)})), data(6)[1], loss=loss, steps=5
        )
    return answers


@job
def optimizers() -> Any:
    """Pyro's own optimizers and schedules under SVI."""
    kinds = {
        "clipped": pyro.optim.ClippedAdam({"lr": 0.02, "lrd": 0.99}),
        "sgd": pyro.optim.SGD({"lr": 1e-3, "momentum": 0.9}),
        "rms": pyro.optim.RMSprop({"lr": 0.01}),
        "adagrad": pyro.optim.AdagradRMSProp({"eta": 0.1}),
        "dct": pyro.optim.DCTAdam({"lr": 0.02}),
        "exponential": pyro.optim.ExponentialLR(
            {"optimizer": torch.optim.Adam, "optim_args": {"lr": 0.02}, "gamma": 0.9}
        ),
    }
    return {name: guided(AutoDelta, steps=5, optim=optim) for name, optim in kinds.items()}


@job
def parameters_and_constraints() -> Any:
    """Constrained parameters, their gradients, the store saved and restored."""
    pyro.clear_param_store()
    parts = {
        "positive": (on([0.5, 2.0]), constraints.positive),
        "simplex": (on([0.2, 0.3, 0.5]), constraints.simplex),
        "interval": (on([0.2, 0.7]), constraints.interval(0.0, 1.0)),
        "tril": (on([[1.0, 0.0], [0.3, 2.0]]), constraints.lower_cholesky),
        "ordered": (on([0.1, 0.4, 0.9]), constraints.ordered_vector),
        "softplus": (on([0.1, 0.4]), constraints.softplus_positive),
        "corr": (on([[1.0, 0.0], [0.6, 0.8]]), constraints.corr_cholesky),
    }
    made = {n: pyro.param(n, v, constraint=c) for n, (v, c) in parts.items()}
    sum((p * (i + 1)).sum() ** 2 for i, p in enumerate(made.values())).backward()
    store = pyro.get_param_store()
    free = dict(store.named_parameters())
    state = store.get_state()
    store.clear()
    store.set_state(state)
    return made, {n: [p, p.grad] for n, p in free.items()}, {n: store[n] for n in sorted(store)}


@job
def modules() -> Any:
    """A PyroModule with sampled weights and constrained parameters under SVI."""
    pyro.clear_param_store()

    class Model(PyroModule):
        def __init__(self) -> None:
            super().__init__()
            self.linear = PyroModule[nn.Linear](3, 1)
            self.linear.weight = PyroSample(dist.Normal(on(0.0), 1.0).expand([1, 3]).to_event(2))
            self.linear.bias = PyroSample(dist.Normal(on(0.0), 1.0).expand([1]).to_event(1))
            self.scale = PyroParam(on(0.7), constraints.positive)

        def forward(self, x: Any, y: Any = None) -> Any:
            mean = self.linear(x).squeeze(-1)
            with pyro.plate("data", len(x)):
                pyro.sample("obs", dist.Normal(mean, self.scale), obs=y)
            return mean

    model = Model().to(jobs.DEVICE)
    values = {"linear.weight": on([[0.1, 0.2, 0.3]]), "linear.bias": on([0.4])}
    trace = poutine.trace(poutine.condition(model, values)).get_trace(*data(5))
    guide = AutoNormal(model, init_loc_fn=init_to_value(values=values))
    return trace.log_prob_sum(), sorted(trace.nodes), fit(model, guide, *data(), steps=8), list(model.state_dict())


@job
def enumeration_of_a_mixture() -> Any:
    """Discrete latents summed out, their marginals and the likeliest."""
    pyro.clear_param_store()
    y = torch.cat([tensor(8, seed=1) - 3, tensor(8, seed=2) + 3])

    @config_enumerate
    def model(y: Any) -> None:
        weights = pyro.param("weights", on([0.4, 0.6]), constraint=constraints.simplex)
        means = pyro.param("means", on([-1.0, 1.0]))
        with pyro.plate("n", len(y)):
            kind = pyro.sample("kind", dist.Categorical(weights))
            pyro.sample("y", dist.Normal(means[kind], 1.0), obs=y)

    losses, params = fit(model, lambda y: None, y, loss=TraceEnum_ELBO(max_plate_nesting=1), steps=20)
    marginals = TraceEnum_ELBO(max_plate_nesting=1).compute_marginals(model, lambda y: None, y)
    kinds = poutine.trace(infer_discrete(model, temperature=0, first_available_dim=-2)).get_trace(y)
    return losses, params, marginals["kind"].logits, kinds.nodes["kind"]["value"]


@job
def enumeration_of_a_markov_chain() -> Any:
    """A Markov chain summed out, with the gradient."""
    pyro.clear_param_store()
    y = tensor(7, seed=1)

    @config_enumerate
    def model() -> None:
        step = pyro.param("step", on([[0.7, 0.3], [0.2, 0.8]]), constraint=constraints.simplex)
        x: Any = torch.tensor(0, device=jobs.DEVICE)
        for t in pyro.markov(range(len(y))):
            x = pyro.sample(f"x{t}", dist.Categorical(step[x]))
            pyro.sample(f"y{t}", dist.Normal(x.float(), 1.0), obs=y[t])

    loss = TraceEnum_ELBO(max_plate_nesting=0)
    value = loss.differentiable_loss(model, lambda: None)
    value.backward()
    return value, pyro.param("step").unconstrained().grad


def conjugate(y: Any) -> None:
    mean = pyro.sample("mean", dist.Normal(on([0.0, 1.0]), 1.0).to_event(1))
    with pyro.plate("n", len(y)):
        pyro.sample("y", dist.Normal(mean, 0.5).to_event(1), obs=y)


def posterior(kernel: Any, warmup: int = 60, samples: int = 240) -> list[bool]:
    """Whether the mean and the variance of the samples are those of the closed form."""
    pyro.set_rng_seed(1)
    y = 0.5 * tensor(10, 2, seed=4) + 1
    mcmc = MCMC(kernel, num_samples=samples, warmup_steps=warmup, disable_progbar=True)
    mcmc.run(y)
    found = mcmc.get_samples()["mean"].cpu()
    precision = 1 + 10 / 0.25
    exact = (torch.tensor([0.0, 1.0]) + y.cpu().sum(0) / 0.25) / precision
    spread = math.sqrt(1 / precision)
    return [near(found.mean(0), exact, 0.4 * spread), near(found.std(0) / spread, torch.ones(2), 0.35)]


@job
def nuts() -> Any:
    """NUTS with diagonal and full mass comes near a closed form."""
    return posterior(NUTS(conjugate)), posterior(NUTS(conjugate, full_mass=True, use_multinomial_sampling=False))


@job
def hmc() -> Any:
    """HMC comes near a closed form."""
    return posterior(HMC(conjugate, step_size=0.1, num_steps=6))


@job
def nuts_potential() -> Any:
    """The potential energy and its gradient, where no chance has a part, and a step of leapfrog."""
    pyro.set_rng_seed(0)
    x, y = data()
    initial, potential, transforms, _ = pyro.infer.mcmc.util.initialize_model(
        regression, model_args=(x, y), init_strategy=start()
    )
    point = {k: v.detach().clone() for k, v in initial.items()}
    grads, energy = pyro.ops.integrator.potential_grad(potential, point)
    momentum = {k: 0.1 * torch.ones_like(v) for k, v in point.items()}
    moved, momenta, _, after = pyro.ops.integrator.velocity_verlet(
        point, momentum, potential, lambda r: r, 0.01, num_steps=4
    )
    return initial, energy, grads, moved, momenta, after, sorted(transforms)


@job
def predictive() -> Any:
    """Predictive from a guide and from posterior samples; medians and quantiles."""
    pyro.clear_param_store()
    x, y = data()
    guide = AutoNormal(regression, init_loc_fn=start())
    with numpy_noise(3):
        guide(x, y)
        found = Predictive(regression, guide=guide, num_samples=4, return_sites=["weight", "obs", "mean"])(x)

    def weights() -> None:
        w = pyro.sample("w", dist.Normal(on([0.0, 0.0]), 1.0).to_event(1))
        pyro.sample("v", dist.Normal(2 * w, 0.1).to_event(1))

    fixed = {k: on(v).expand((3, *torch.as_tensor(v).shape)) for k, v in START.items()}
    with numpy_noise(4):
        given = [
            Predictive(regression, posterior_samples=fixed)(x),
            Predictive(weights, posterior_samples={"w": tensor(3, 2, seed=6)}, parallel=True)(),
        ]
    return found, given, guide.median(), guide.quantiles([0.1, 0.9])


@job
def gaussian_processes() -> Any:
    """pyro.contrib.gp: loss, gradients, mean and covariance."""
    from pyro.contrib import gp  # why: the one job that needs it

    pyro.clear_param_store()
    x, y = data(12)
    kernel = gp.kernels.Sum(gp.kernels.RBF(3, lengthscale=on(1.5)), gp.kernels.Matern52(3, lengthscale=on(0.7)))
    model = gp.models.GPRegression(x, y, kernel, noise=on(0.2)).to(jobs.DEVICE)
    loss = Trace_ELBO().differentiable_loss(model.model, model.guide)
    loss.backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    mean, covariance = model(tensor(4, 3, seed=8), full_cov=True)
    return loss, grads, mean, covariance


@job
def operations() -> Any:
    """Statistics of chains, transforms, contractions in log space."""
    x = tensor(6, 4)
    samples = tensor(3, 40, seed=2)
    running = pyro.ops.welford.WelfordCovariance(diagonal=False)
    for row in x:
        running.update(row)
    return [
        pyro.ops.stats.gelman_rubin(samples, 0, 1),
        pyro.ops.stats.effective_sample_size(samples, 0, 1),
        pyro.ops.stats.autocorrelation(samples, 1),
        pyro.ops.stats.hpdi(samples, 0.8, dim=1),
        pyro.ops.stats.quantile(samples, [0.2, 0.6], 1),
        pyro.ops.stats.waic(samples),
        pyro.ops.stats.crps_empirical(samples, samples[0]),
        pyro.ops.tensor_utils.convolve(x[0], x[1]),
        pyro.ops.tensor_utils.dct(x),
        pyro.ops.tensor_utils.haar_transform(x),
        pyro.ops.special.log_beta(x.abs(), x.abs() + 1),
        pyro.ops.special.log_binomial(x.abs() + 3, x.abs()),
        pyro.ops.contract.einsum("ab,bc->ac", x[:4], x[:4], backend="pyro.ops.einsum.torch_log", modulo_total=True),
        running.get_covariance(),
    ]


if __name__ == "__main__":
    jobs.main("pyro-ppl")
