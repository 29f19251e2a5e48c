"""GPyTorch: exact and variational Gaussian processes, kernels, likelihoods, linear operators."""

from __future__ import annotations

from typing import Any

import gpytorch
import jobs
import torch
from gpytorch import kernels
from jobs import job, tensor
from linear_operator import operators, to_linear_operator


def data(n: int = 16) -> tuple[Any, Any]:
    x = torch.linspace(0, 1, n).to(jobs.DEVICE)
    return x, torch.sin(6 * x) + 0.1 * tensor(n)


class Exact(gpytorch.models.ExactGP):
    def __init__(self, x: Any, y: Any, likelihood: Any, kernel: Any) -> None:
        super().__init__(x, y, likelihood)
        self.mean_module = gpytorch.means.ConstantMean()
        self.covar_module = kernel

    def forward(self, x: Any) -> Any:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def exact(kernel: Any = None) -> tuple[Any, Any, Any, Any]:
    x, y = data()
    likelihood = gpytorch.likelihoods.GaussianLikelihood()
    model = Exact(x, y, likelihood, kernel or kernels.ScaleKernel(kernels.RBFKernel()))
    return model.to(jobs.DEVICE), likelihood.to(jobs.DEVICE), x, y


def values(model: Any) -> dict[str, Any]:
    return {n: [p, p.grad] for n, p in sorted(model.named_parameters())}


@job
def exact_marginal_likelihood() -> Any:
    """The exact marginal and the leave-one-out likelihood, with gradients."""
    model, likelihood, x, y = exact()
    loss = -gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)(model(x), y)
    loss.backward()
    loo = gpytorch.mlls.LeaveOneOutPseudoLikelihood(likelihood, model)(model(x), y)
    return loss, values(model), loo


@job
def exact_training_and_prediction() -> Any:
    """Ten steps of Adam, then means, covariances and confidence regions."""
    model, likelihood, x, y = exact()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    mll = gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = -mll(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    likelihood.eval()
    test = torch.linspace(0.05, 1.2, 7).to(jobs.DEVICE)
    with torch.no_grad():
        latent, seen = model(test), likelihood(model(test))
        lower, upper = seen.confidence_region()
    with torch.no_grad(), gpytorch.settings.fast_pred_var():
        fast = model(test).variance
    return losses, latent.mean, latent.covariance_matrix, seen.variance, lower, upper, fast, values(model)


@job
def kernel_matrices() -> Any:
    """Thirteen kernels, their sums and products, as matrices."""
    x, z = tensor(5, 2), tensor(4, 2, seed=1)
    made = {
        "rbf": kernels.RBFKernel(ard_num_dims=2),
        "matern12": kernels.MaternKernel(nu=0.5),
        "matern32": kernels.MaternKernel(nu=1.5),
        "matern52": kernels.MaternKernel(nu=2.5),
        "periodic": kernels.PeriodicKernel(),
        "cosine": kernels.CosineKernel(),
        "linear": kernels.LinearKernel(),
        "polynomial": kernels.PolynomialKernel(power=2),
        "rq": kernels.RQKernel(),
        "piecewise": kernels.PiecewisePolynomialKernel(q=1),
        "sum": kernels.RBFKernel() + kernels.MaternKernel(),
        "product": kernels.RBFKernel() * kernels.LinearKernel(),
        "gradient": kernels.RBFKernelGrad(),
    }
    with torch.no_grad():
        return {n: [k.to(jobs.DEVICE)(x).to_dense(), k(x, z).to_dense()] for n, k in made.items()}


@job
def multitask() -> Any:
    """Two correlated tasks: likelihood and gradients."""
    x, y = data(8)
    y = torch.stack([y, torch.cos(6 * x)], -1)
    likelihood = gpytorch.likelihoods.MultitaskGaussianLikelihood(num_tasks=2)

    class Model(gpytorch.models.ExactGP):
        def __init__(self) -> None:
            super().__init__(x, y, likelihood)
            self.mean_module = gpytorch.means.MultitaskMean(gpytorch.means.ConstantMean(), num_tasks=2)
            self.covar_module = kernels.MultitaskKernel(kernels.RBFKernel(), num_tasks=2, rank=1)

        def forward(self, x: Any) -> Any:
            return gpytorch.distributions.MultitaskMultivariateNormal(self.mean_module(x), self.covar_module(x))

    model = Model().to(jobs.DEVICE)
    model.covar_module.task_covar_module.covar_factor.data = torch.tensor([[0.4], [0.7]]).to(jobs.DEVICE)
    model.covar_module.task_covar_module.raw_var.data = torch.tensor([0.1, -0.3]).to(jobs.DEVICE)
    loss = -gpytorch.mlls.ExactMarginalLogLikelihood(likelihood.to(jobs.DEVICE), model)(model(x), y)
    loss.backward()
    return loss, values(model)


class Variational(gpytorch.models.ApproximateGP):
    def __init__(self, points: Any) -> None:
        distribution = gpytorch.variational.CholeskyVariationalDistribution(len(points), mean_init_std=0.0)
        super().__init__(gpytorch.variational.VariationalStrategy(self, points, distribution))
        self.mean_module = gpytorch.means.ConstantMean()
        self.covar_module = kernels.ScaleKernel(kernels.RBFKernel())

    def forward(self, x: Any) -> Any:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


def variational(likelihood: Any, y: Any, steps: int = 6) -> Any:
    x, _ = data()
    model = Variational(torch.linspace(0, 1, 5).to(jobs.DEVICE)).to(jobs.DEVICE)
    likelihood = likelihood.to(jobs.DEVICE)
    # the first gradients of a kernel are rounding errors, of which Adam's steps would keep the sign alone
    optimizer = torch.optim.SGD([*model.parameters(), *likelihood.parameters()], lr=0.05, momentum=0.9)
    mll = gpytorch.mlls.VariationalELBO(likelihood, model, num_data=len(x))
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = -mll(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.eval()
    with torch.no_grad():
        found = model(x[:4])
        return losses, found.mean, found.variance


@job
def variational_regression() -> Any:
    """A variational model of few inducing points, trained and asked."""
    return variational(gpytorch.likelihoods.GaussianLikelihood(), data()[1])


@job
def variational_classification() -> Any:
    """The same with a Bernoulli likelihood."""
    return variational(gpytorch.likelihoods.BernoulliLikelihood(), (data()[1] > 0).float())


@job
def priors_and_constraints() -> Any:
    """Priors and bounded parameters in the loss and in the state."""
    kernel = kernels.ScaleKernel(
        kernels.RBFKernel(
            lengthscale_prior=gpytorch.priors.GammaPrior(3.0, 6.0),
            lengthscale_constraint=gpytorch.constraints.Interval(0.05, 2.0),
        ),
        outputscale_prior=gpytorch.priors.LogNormalPrior(0.0, 1.0),
    )
    model, likelihood, x, y = exact(kernel)
    model.covar_module.base_kernel.lengthscale = 0.3
    loss = -gpytorch.mlls.ExactMarginalLogLikelihood(likelihood, model)(model(x), y)
    loss.backward()
    state = model.state_dict()
    model.load_state_dict(state)
    return loss, values(model), sorted(state), [n for n, *_ in model.named_priors()]


@job
def conjugate_gradients() -> Any:
    """The iterative solvers, which large problems take: solutions alone, as log-determinants draw probes."""
    matrix = tensor(30, 30)
    dense = matrix @ matrix.T / 30 + torch.eye(30, device=jobs.DEVICE)
    with gpytorch.settings.max_cholesky_size(2), gpytorch.settings.cg_tolerance(1e-5):
        return to_linear_operator(dense).solve(tensor(30, 2, seed=1))


@job
def linear_operators() -> Any:
    """Sums, products, solutions, determinants and factors of structured matrices."""
    a, b = tensor(3, 3), tensor(2, 2, seed=1)
    spd = a @ a.T + torch.eye(3, device=jobs.DEVICE)
    right = tensor(3, 2, seed=2)
    diagonal = operators.DiagLinearOperator(tensor(3, seed=3).abs() + 0.5)
    dense = to_linear_operator(spd)
    return [
        (dense + diagonal).to_dense(),
        (dense @ diagonal).to_dense(),
        dense.solve(right),
        dense.logdet(),
        dense.cholesky().to_dense(),
        dense.inv_quad_logdet(right, logdet=True),
        operators.KroneckerProductLinearOperator(dense, to_linear_operator(b)).to_dense(),
        operators.ToeplitzLinearOperator(torch.tensor([4.0, 1.0, 0.5]).to(jobs.DEVICE)).to_dense(),
        operators.ToeplitzLinearOperator(torch.tensor([4.0, 1.0, 0.5]).to(jobs.DEVICE)) @ right,
        dense.add_jitter(0.1).diagonal(),
        operators.RootLinearOperator(a).to_dense(),
        (dense * 2.0)[1:, :2].to_dense(),
        torch.linalg.cholesky(dense).to_dense(),
        torch.matmul(dense, right),
        operators.LowRankRootLinearOperator(right).to_dense(),
        dense.eigh()[0],
        dense.svd()[1],
        dense.sum(-1),
        dense.repeat(2, 1, 1).to_dense(),
        dense.unsqueeze(0).shape,
    ]


@job
def interpolation() -> Any:
    """KISS-GP: a kernel on a grid, interpolated; its matrix is sparse times Toeplitz times sparse."""
    x, _ = data(6)
    kernel = kernels.GridInterpolationKernel(kernels.RBFKernel(), grid_size=12, num_dims=1, grid_bounds=[(0.0, 1.0)])
    with torch.no_grad():
        covariance = kernel.to(jobs.DEVICE)(x[:, None])
        return covariance.to_dense(), covariance @ tensor(6, 2)


if __name__ == "__main__":
    jobs.main("gpytorch")
