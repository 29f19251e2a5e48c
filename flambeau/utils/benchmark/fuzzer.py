"""Inputs of random sizes and layouts to time programs on."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from flambeau.core import dtype as dt
from flambeau.core.dtype import DType
from flambeau.core.ops.random import rand, randint
from flambeau.core.tensor import Tensor

__all__ = ["FuzzedParameter", "FuzzedSparseTensor", "FuzzedTensor", "Fuzzer", "ParameterAlias"]

State = np.random.RandomState
Parameters = dict[str, Any]


class ParameterAlias:
    """A parameter that is another one."""

    def __init__(self, alias_to: str):
        self.alias_to = alias_to

    def __repr__(self) -> str:
        return f"ParameterAlias[alias_to: {self.alias_to}]"


class FuzzedParameter:
    """A number drawn for each input: "uniform" or "loguniform" in [minval, maxval], or by weights of values.

    >>> import numpy
    >>> FuzzedParameter("k", distribution={3: 1.0}).sample(numpy.random.RandomState(0))
    3
    """

    def __init__(
        self, name: str, minval: float | None = None, maxval: float | None = None,
        distribution: Literal["uniform", "loguniform"] | dict[Any, float] | None = None, strict: bool = False,
    ):  # fmt: skip
        self._name, self._min, self._max = name, minval, maxval
        self.strict = strict
        if isinstance(distribution, dict):
            total = sum(distribution.values())
            if abs(total - 1.0) > 1e-5:
                raise ValueError(f"FuzzedParameter: the weights of {name!r} must sum to 1, they sum to {total}")
        elif distribution not in ("uniform", "loguniform") or minval is None or maxval is None:
            raise ValueError(
                f"FuzzedParameter: {name!r} needs minval, maxval and distribution 'uniform' or 'loguniform', or weights"
            )
        self._distribution = distribution

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    def sample(self, state: State) -> Any:  # Any: a number, or one of the values
        """A value."""
        if isinstance(self._distribution, dict):
            values = list(self._distribution)
            return values[int(state.choice(len(values), p=list(self._distribution.values())))]
        assert self._min is not None and self._max is not None
        if self._distribution == "loguniform":
            drawn = math.exp(state.uniform(math.log(self._min), math.log(self._max)))
            return round(drawn) if isinstance(self._min, int) and isinstance(self._max, int) else drawn
        if isinstance(self._min, int) and isinstance(self._max, int):
            return int(state.randint(self._min, self._max + 1))
        return float(state.uniform(self._min, self._max))


class FuzzedTensor:
    """A tensor whose sizes, strides and order in memory are drawn for each input.

    Args:
        name: its name.
        size: numbers and names of parameters; ``dim_parameter`` names that of how many of them count.
        steps: the strides' factors, likewise.
        probability_contiguous: how often its axes stand in memory in their order.
        min_elements, max_elements, max_allocation_bytes: what an input must fit in.
        dim_parameter, roll_parameter: parameters of the number of axes, and by how many they are rolled.
        dtype: of the values.
        cuda: put it on the device of that type.
        tensor_constructor: makes it of ``size``, ``dtype`` and the parameters.
    """

    def __init__(
        self, name: str, size: tuple[str | int, ...], steps: tuple[str | int, ...] | None = None,
        probability_contiguous: float = 0.5, min_elements: int | None = None, max_elements: int | None = None,
        max_allocation_bytes: int | None = None, dim_parameter: str | None = None, roll_parameter: str | None = None,
        dtype: DType = dt.float32, cuda: bool = False, tensor_constructor: Callable[..., Tensor] | None = None,
    ):  # fmt: skip
        self._name, self._size, self._steps = name, size, steps
        self._probability_contiguous = probability_contiguous
        self._min, self._max, self._max_bytes = min_elements, max_elements, max_allocation_bytes
        self._dim_parameter, self._roll_parameter = dim_parameter, roll_parameter
        self._dtype, self._cuda, self._constructor = dtype, cuda, tensor_constructor

    @property
    def name(self) -> str:
        """Its name."""
        return self._name

    @staticmethod
    def default_tensor_constructor(size: Sequence[int], dtype: DType, **kwargs: Any) -> Tensor:
        """Even random values."""
        if dtype.is_floating_point or dtype.is_complex:
            return rand(*size, dtype=dtype, device="cpu")
        return randint(1, 127 if dtype.itemsize == 1 else 1000, size, dtype=dtype, device="cpu")

    def _sizes(self, params: Parameters) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """The sizes, the factors of the strides, and the sizes in memory."""
        size = tuple(params[s] if isinstance(s, str) else s for s in self._size)
        if self._dim_parameter is not None:
            size = size[: params[self._dim_parameter]]
        steps = tuple(params[s] if isinstance(s, str) else s for s in self._steps or ()) or (1,) * len(size)
        steps = steps[: len(size)]
        if self._roll_parameter is not None:
            by = params[self._roll_parameter] % len(size)
            size, steps = size[-by:] + size[:-by], steps[-by:] + steps[:-by]
        return size, steps, tuple(n * s for n, s in zip(size, steps, strict=True))

    def satisfies_constraints(self, params: Parameters) -> bool:
        """Whether it would be as large as it may be."""
        size, _, stored = self._sizes(params)
        elements, nbytes = math.prod(size), math.prod(stored) * self._dtype.itemsize
        return not (
            self._max_bytes is not None and nbytes > self._max_bytes
            or self._max is not None and elements > self._max
            or self._min is not None and elements < self._min
        )  # fmt: skip

    def make(self, params: Parameters, state: State) -> tuple[Tensor, dict[str, Any]]:
        """The tensor, and what is to be said of it."""
        size, steps, stored = self._sizes(params)
        order = np.arange(len(size))
        if state.rand() > self._probability_contiguous:
            order = state.permutation(order)
        make = self._constructor or self.default_tensor_constructor
        raw = make(size=[stored[i] for i in order], dtype=self._dtype, **params)
        if self._cuda:
            raw = raw.to("cuda")
        raw = raw.permute(*(int(i) for i in np.argsort(order)))
        tensor = raw[tuple(slice(0, n * s, s) for n, s in zip(size, steps, strict=True))]
        return tensor, {
            "numel": tensor.numel(), "order": order, "steps": steps, "is_contiguous": tensor.is_contiguous(),
            "dtype": str(self._dtype),
        }  # fmt: skip


class FuzzedSparseTensor(FuzzedTensor):
    """A tensor most of whose values are zeros; it is sparse where flambeau has that layout.

    ``nnz`` or ``density`` name the parameter of how many values are there, ``sparse_dim`` and ``coalesced`` are of the
    layout.
    """

    def __init__(
        self, name: str, size: tuple[str | int, ...], min_elements: int | None = None, max_elements: int | None = None,
        dim_parameter: str | None = None, sparse_dim: str | None = None, nnz: str | None = None,
        density: str | None = None, coalesced: str | None = None, dtype: DType = dt.float32, cuda: bool = False,
    ):  # fmt: skip
        super().__init__(
            name, size, min_elements=min_elements, max_elements=max_elements, dim_parameter=dim_parameter, dtype=dtype,
            cuda=cuda, probability_contiguous=1.0,
        )  # fmt: skip
        self._sparse_dim, self._nnz, self._density, self._coalesced = sparse_dim, nnz, density, coalesced

    def make(self, params: Parameters, state: State) -> tuple[Tensor, dict[str, Any]]:
        """The tensor, and what is to be said of it."""
        dense, properties = super().make(params, state)
        share = params[self._density] if self._density else 0.1
        if self._nnz:
            share = params[self._nnz] / max(dense.numel(), 1)
        kept = dense * (rand(*dense.shape, device="cpu") < share).to(dense.device)
        axes = params[self._sparse_dim] if self._sparse_dim else dense.dim()
        tensor = kept.to_sparse(axes) if hasattr(kept, "to_sparse") else kept
        return tensor, properties | {"sparse_dim": axes, "density": share}


class Fuzzer:
    """Draws parameters, and makes tensors of them.

    >>> n = FuzzedParameter("n", 1, 8, "uniform")
    >>> fuzzer = Fuzzer([n], [FuzzedTensor("x", ("n", 2))], seed=0)
    >>> [tensors["x"].dim() for tensors, properties, params in fuzzer.take(2)]
    [2, 2]
    """

    def __init__(
        self, parameters: list[FuzzedParameter | list[FuzzedParameter]],
        tensors: list[FuzzedTensor | list[FuzzedTensor]], constraints: list[Callable[..., bool]] | None = None,
        seed: int | None = None,
    ):  # fmt: skip
        self._seed = int(np.random.RandomState().randint(0, 2**31)) if seed is None else seed
        self._parameters: list[FuzzedParameter] = _flat(parameters)
        self._tensors: list[FuzzedTensor] = _flat(tensors)
        self._constraints = tuple(constraints or ())
        names = [*(p.name for p in self._parameters), *(t.name for t in self._tensors)]
        if len(set(names)) != len(names):
            raise ValueError(f"Fuzzer: two parameters or tensors have one name: {sorted(names)}")
        self._rejections = self._total = 0

    def take(self, n: int) -> Iterator[tuple[dict[str, Tensor], dict[str, dict[str, Any]], Parameters]]:
        """``n`` inputs: tensors by name, what is to be said of each, and the parameters."""
        state = State(self._seed)
        for _ in range(n):
            params = self._drawn(state)
            made = {t.name: t.make(params, state) for t in self._tensors}
            yield {k: v[0] for k, v in made.items()}, {k: v[1] for k, v in made.items()}, params

    @property
    def rejection_rate(self) -> float:
        """Which share of the drawn parameters did not fit."""
        return self._rejections / self._total if self._total else 0.0

    def _drawn(self, state: State) -> Parameters:
        for _ in range(1000):
            params: Parameters = {}
            for name, value in [(p.name, p.sample(state)) for p in self._parameters]:
                params[name] = value
            for name, value in list(params.items()):
                if isinstance(value, ParameterAlias):
                    params[name] = params[value.alias_to]
            self._total += 1
            fits = all(c(**params) for c in self._constraints)
            if fits and all(t.satisfies_constraints(params) for t in self._tensors):
                return params
            self._rejections += 1
        raise ValueError("Fuzzer: a thousand drawn parameters did not fit the constraints")


def _flat(entries: Any) -> list[Any]:
    return functools.reduce(lambda found, e: [*found, *(e if isinstance(e, list) else [e])], entries, [])
