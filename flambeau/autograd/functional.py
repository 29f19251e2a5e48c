"""Jacobians, Hessians and their products with vectors, of a function at given inputs."""

from flambeau.core.transforms.functional import hessian, hvp, jacobian, jvp, vhp, vjp

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]
