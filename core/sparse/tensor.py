"""The class of sparse tensors, and how it finds who answers a call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, SupportsIndex, TypeVar

from flambeau.core.box import mark_written
from flambeau.core.errors import ConversionError, GradientError, MissingKernelError
from flambeau.core.graph import Handle
from flambeau.core.memory_format import Layout, sparse_bsc, sparse_bsr, sparse_coo, sparse_csc, sparse_csr
from flambeau.core.overrides import DisableTorchFunctionSubclass
from flambeau.core.printing import format_parts, print_device
from flambeau.core.state import current
from flambeau.core.tensor import Tensor

Answer = Callable[..., Any]
A = TypeVar("A", bound=Answer)

#: Who answers a function, by its name.
ANSWERS: Final[dict[str, Answer]] = {}
#: What is true of a sparse tensor as of any other: its shape, its dtype, its device.
_AS_ANY: Final = (
    "shape size dtype device ndim dim ndimension numel nelement itemsize element_size is_cpu is_meta is_cuda is_mps "
    "is_xpu is_mtia is_xla is_ipu is_maia is_vulkan is_floating_point is_complex is_signed is_nested is_quantized "
    "is_mkldnn name volatile grad_dtype is_inference __len__ _version get_device is_same_size is_pinned is_shared "
    "is_conj is_neg result_type can_cast _is_view _base promote_types is_tensor"
)
_ANY: Final = frozenset(_AS_ANY.split())
#: How errors of PyTorch name layouts.
NAMES: Final = {
    sparse_coo: "Sparse", sparse_csr: "SparseCsr", sparse_csc: "SparseCsc", sparse_bsr: "SparseBsr",
    sparse_bsc: "SparseBsc",
}  # fmt: skip
#: The layouts that say where each row begins, and those that hold blocks.
BY_ROW: Final = frozenset({sparse_csr, sparse_bsr})
OF_BLOCKS: Final = frozenset({sparse_bsr, sparse_bsc})


def answers(*names: str) -> Callable[[A], A]:
    """Enter a function as the answer of sparse tensors to functions of these names."""

    def enter(fn: A) -> A:
        ANSWERS.update(dict.fromkeys(names, fn))
        return fn

    return enter


class Extent:
    """What stands in the place of an array: a shape alone."""

    __slots__ = ("shape",)

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape


def canonical(func: Any) -> str:
    """The name by which answers are entered: of several names of a function the first, of a record its own."""
    name: str = getattr(func, "canonical", func.__name__)
    op = getattr(func, "op", None)
    return name if op is None or name in ANSWERS else str(op.name)


class SparseTensor(Tensor):
    """A tensor of which only some places are held: ``layout`` says how, and the rest is zero.

    ``sparse_coo``: ``_where`` is (the indices,), of shape (sparse_dim, nnz), and ``_held`` has the values, of shape
    (nnz, *dense sizes). The compressed layouts: ``_where`` has where each row (column) begins, of shape (*batch, rows
    + 1), and the columns (rows), (*batch, nnz); ``_held`` is (*batch, nnz, *dense sizes), and of ``sparse_bsr`` and
    ``sparse_bsc``, which count in blocks, (*batch, nnz, *blocksize, *dense sizes). Values record their history; a
    sparse tensor has that of its values.
    """

    __slots__ = ("_coalesced", "_grad_seen", "_held", "_kind", "_where")

    _in_parts = True
    _where: tuple[Tensor, ...]
    _held: Tensor
    _kind: Layout
    _coalesced: bool
    _grad_seen: tuple[Tensor, SparseTensor] | None

    @classmethod
    def __torch_function__(cls, func: Answer, types: Sequence[type], args: Any = (), kwargs: Any = None) -> Any:
        if not all(issubclass(t, SparseTensor) for t in types):
            return NotImplemented
        owner = getattr(func, "__self__", None)
        name = owner.fget.__name__ if isinstance(owner, property) and owner.fget else canonical(func)
        attribute = isinstance(owner, property) and name == "grad"  # what is answered is the function of that name
        if not attribute and (answer := ANSWERS.get(name)) is not None:
            return answer(*args, **(kwargs or {}))
        if attribute or name in _ANY:
            with DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        raise unsupported(name, *args, *(kwargs or {}).values())

    # -- what it is ------------------------------------------------------------------------------
    @property
    def layout(self) -> Layout:
        """``sparse_coo``, ``sparse_csr``, ``sparse_csc``, ``sparse_bsr`` or ``sparse_bsc``."""
        return self._kind

    @property
    def _batch(self) -> int:
        """How many dimensions number the matrices of a batch."""
        return 0 if self._kind is sparse_coo else self._where[0].ndim - 1

    @property
    def _blocksize(self) -> tuple[int, ...]:
        """The shape of a block; () where single elements are held."""
        first = self._batch + 1
        return tuple(self._held.shape[first : first + 2]) if self._kind in OF_BLOCKS else ()

    @property
    def _lead(self) -> int:
        """How many dimensions of the values stand before the dense ones."""
        return self._batch + 1 + 2 * (self._kind in OF_BLOCKS)

    @property
    def _sparse_dims(self) -> int:
        """How many dimensions of the tensor stand before the dense ones."""
        return self.ndim - self._held.ndim + self._lead

    @property
    def is_sparse(self) -> bool:
        """Whether the layout is ``sparse_coo``."""
        return self._kind is sparse_coo

    @property
    def is_sparse_csr(self) -> bool:
        """Whether the layout is ``sparse_csr``."""
        return self._kind is sparse_csr

    @property
    def nbytes(self) -> int:
        """Bytes of the values and of where they are."""
        return sum(t.nbytes for t in (*self._where, self._held))

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """False: there are no strides."""
        return False

    def _become(self, other: SparseTensor, name: str) -> SparseTensor:
        """Become what ``other`` is: how ops in place end."""
        if current().grad and self.requires_grad and self.is_leaf:
            raise GradientError(f"{name}: a leaf Variable that requires grad is being used in an in-place operation")
        if other.dtype is not self.dtype:
            raise GradientError(
                f"{name}: result type {other.dtype.name} can't be cast to the desired output type {self.dtype.name}"
            )
        self._where, self._held, self._coalesced = other._where, other._held, other._coalesced
        self._kind, self._array, self._grad_seen = other._kind, other._array, None
        mark_written(self, name)
        return self

    # -- autograd, which is that of the values -----------------------------------------------------
    @property
    def requires_grad(self) -> bool:
        """Whether backward reaches the values."""
        return self._held.requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self._held.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> SparseTensor:
        """Ask for the gradient of a leaf, which has its pattern; in place."""
        self._held.requires_grad_(requires_grad)
        return self

    @property
    def is_leaf(self) -> bool:
        """Whether no op that autograd recorded made the values."""
        return self._held.is_leaf

    @property
    def grad_fn(self) -> Any:  # Any: as a Tensor's
        """The node that computes the gradient of the values."""
        return self._held.grad_fn

    @property
    def grad(self) -> Tensor | None:
        """The gradient that backward accumulated: sparse, in the pattern of this tensor."""
        found = self._held.grad
        if found is None:
            return None
        if self._grad_seen is None or self._grad_seen[0] is not found:
            self._grad_seen = found, with_values(self, found)
        return self._grad_seen[1]

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        self._held.grad = None if value is None else ANSWERS["values_at"](value, self)

    def register_hook(self, hook: Callable[[Tensor], Tensor | None]) -> Handle:
        """Call ``hook(grad)`` when the gradient, in this tensor's pattern, is complete."""

        def of_values(g: Tensor) -> Tensor | None:
            found = hook(with_values(self, g))
            return None if found is None else ANSWERS["values_at"](found, self)

        return self._held.register_hook(of_values)

    def retain_grad(self) -> None:
        """Keep the gradient of a computed tensor."""
        self._held.retain_grad()

    @property
    def retains_grad(self) -> bool:
        """Whether the gradient of this computed tensor is kept."""
        return self._held.retains_grad

    # -- copies and texts ------------------------------------------------------------------------
    def __deepcopy__(self, memo: dict[int, Any]) -> SparseTensor:
        if not self.is_leaf:
            raise GradientError("deepcopy: only leaf tensors can be copied; detach() or clone() first")
        if id(self) not in memo:
            held = self._held.detach().clone().requires_grad_(self.requires_grad)
            memo[id(self)] = made(
                tuple(w.clone() for w in self._where), held, tuple(self.shape), self._kind, self._coalesced
            )
        found: SparseTensor = memo[id(self)]
        return found

    def __copy__(self) -> SparseTensor:
        return made(self._where, self._held, tuple(self.shape), self._kind, self._coalesced)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[Any, ...]:
        if not self.is_leaf:
            raise GradientError("pickle: only leaf tensors can be pickled; detach() first")
        return ANSWERS["rebuild"], (self._where, self._held, tuple(self.shape), self._kind, self._coalesced)

    def __repr__(self, *, tensor_contents: object = None) -> str:
        compressed = ["crow_indices", "col_indices"] if self._kind in BY_ROW else ["ccol_indices", "row_indices"]
        names = ["indices"] if self._kind is sparse_coo else compressed
        parts = [(n, t.detach(), None) for n, t in zip(names, self._where, strict=True)]
        suffixes = [f"size={tuple(self.shape)}", f"nnz={self._held.shape[self._batch]}"]
        suffixes = [*print_device(self._held), *suffixes]
        history = f"grad_fn=<{self.grad_fn.name()}>" if self.grad_fn is not None else ""
        history = history or ("requires_grad=True" if self.requires_grad else "")
        return format_parts(
            [*parts, ("values", self._held.detach(), self.dtype)], suffixes,
            [f"layout={self._kind!r}", *([history] if history else [])], own_line=self._kind is sparse_coo,
        )  # fmt: skip

    def __format__(self, spec: str) -> str:
        if spec:
            raise TypeError(f"unsupported format string {spec!r} for a tensor of layout {self._kind!r}")
        return repr(self)

    def numpy(self, *, force: bool = False) -> Any:  # Any: it raises
        """ConversionError: only dense tensors are numpy arrays."""
        return self._host()

    def _host(self) -> Any:
        raise ConversionError(f"can't convert a tensor of layout {self._kind!r} to numpy; use x.to_dense() first")


def made(
    where: Sequence[Tensor], held: Tensor, shape: tuple[int, ...], kind: Layout, coalesced: bool = False
) -> SparseTensor:
    """A sparse tensor of parts that fit each other."""
    own: SparseTensor = object.__new__(SparseTensor)
    own._where, own._held, own._kind, own._coalesced = tuple(where), held, kind, coalesced
    own._array, own._key, own._box, own._node = Extent(tuple(shape)), held._key, None, None
    own._grad_seen = None
    return own


def coo(indices: Tensor, values: Tensor, shape: Sequence[int], coalesced: bool = False) -> SparseTensor:
    """A sparse_coo tensor of parts that fit each other."""
    return made((indices,), values, tuple(shape), sparse_coo, coalesced)


def with_values(x: SparseTensor, held: Tensor) -> SparseTensor:
    """A tensor of the pattern of ``x`` with other values."""
    shape = (*x.shape[: x._sparse_dims], *held.shape[x._lead :])
    return made(x._where, held, shape, x._kind, x._coalesced)


def unsupported(name: str, *args: object) -> MissingKernelError:
    """The error for an op that sparse tensors do not have."""
    kinds = sorted({repr(a._kind) for a in args if isinstance(a, SparseTensor)})
    kind = " and ".join(kinds) or "a sparse layout"
    return MissingKernelError(f"{name}: not there for tensors of layout {kind}; use to_dense() before it")
