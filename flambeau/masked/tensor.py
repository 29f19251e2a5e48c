"""MaskedTensor: elements together with a mask of those that count.

It takes part in the calls of public functions by ``__torch_function__``: elementwise functions keep the mask, views and
joins are done to the mask as well, and reductions see the elements that count alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeGuard

from flambeau.core import dtype as _dt
from flambeau.core.dtype import DType
from flambeau.core.ops.elementwise import where
from flambeau.core.overrides import DisableTorchFunctionSubclass
from flambeau.core.record import ELEMENTWISE, OPS
from flambeau.core.tensor import Tensor
from flambeau.masked.base import Masked
from flambeau.masked.functions import ALONG, REDUCTIONS

Function = Callable[..., Any]

_OPERATORS: Final = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift")
_OF_EACH = (
    "__abs__ __eq__ __ge__ __gt__ __invert__ __le__ __lt__ __ne__ __neg__ __pos__ angle celu clip conj "
    "conj_physical divide dropout float_power isclose isneginf isposinf isreal nan_to_num relu6 round rsub selu "
    "sgn"
)
_OF_COPIES = (
    "bfloat16 bool byte char clone contiguous cpu cuda detach double empty_like float full_like half int long "
    "ones_like rand_like randn_like short to type type_as zeros_like"
)
_OF_VIEWS = (
    "__getitem__ broadcast_to chunk diagonal expand expand_as flatten flip fliplr flipud gather index_select moveaxis "
    "movedim narrow permute ravel repeat repeat_interleave reshape reshape_as roll select split squeeze swapaxes "
    "swapdims t take_along_dim tensor_split tile transpose unbind unflatten unfold unsqueeze view view_as"
)
_OF_FACTS = (
    "__bool__ __float__ __index__ __int__ __len__ backward data_ptr dim element_size get_device is_complex "
    "is_contiguous is_floating_point is_signed item ndimension nelement numel register_hook requires_grad_ "
    "retain_grad size storage_offset stride"
)
#: Functions of each element by itself: the ops of that family, their operators, and those that are made of them.
_EACH: Final = frozenset(
    [name for op in OPS.values() if op.family is ELEMENTWISE for name in (op.name, *op.public)]
    + [f"__{form}{name}__" for name in _OPERATORS for form in ("", "r", "i")]
    + _OF_EACH.split()
)
_ALIKE: Final = frozenset(_OF_COPIES.split())  # of the same shape
_MOVES: Final = frozenset(_OF_VIEWS.split())  # they are done to the mask too
_JOINS: Final = frozenset({"cat", "concat", "concatenate", "dstack", "hstack", "stack", "vstack"})
_WHOLE: Final = frozenset(_OF_FACTS.split())  # asked of the elements, or done to the tensor as a whole
_TURNED: Final = tuple(vars(Tensor)[name] for name in ("T", "mT", "H", "mH"))
_OF_ALL_OR_ANY: Final = {"all": True, "any": False}
#: The names of positional arguments after the first, where they are not these.
_POSITIONS: Final = {"var": ("dim", "unbiased", "keepdim"), "std": ("dim", "unbiased", "keepdim"),
                     "norm": ("ord", "dim", "keepdim")}  # fmt: skip
_USUAL: Final = ("dim", "keepdim")
_OTHER_NAMES: Final = {"axis": "dim", "keepdims": "keepdim", "p": "ord"}


class MaskedTensor(Masked):
    """Elements and a mask of the same shape, True where an element counts: what is not known has no say in a result.

    Operands of an elementwise function must have equal masks (a ValueError); an ordinary tensor has none. Reductions
    leave masked-out elements out, and mask out a result that no element went into. Functions that are not there for
    masked tensors are a TypeError. ``backward`` gives masked gradients.

    Errors: TypeError where data or mask is no tensor or the mask is not bool, ValueError where their shapes differ.

    >>> x = fb.masked.MaskedTensor(fb.tensor([1.0, 2.0, 4.0]), fb.tensor([True, False, True]))
    >>> x + x
    MaskedTensor(
      [  2.0000,       --,   8.0000]
    )
    >>> x.mean()
    MaskedTensor(  2.5000, True)
    """

    def __new__(cls, data: Tensor, mask: Tensor, requires_grad: bool = False) -> MaskedTensor:
        _check("MaskedTensor", data, mask)
        made = _with_mask(data.detach().clone(), mask.clone())
        return made.requires_grad_(requires_grad)  # type: ignore[return-value]

    @classmethod
    def __torch_function__(cls, func: Function, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Answer ``func`` for masked tensors among the arguments. Any: whatever the function takes and gives."""
        if not all(t is Tensor or issubclass(t, Masked) or t.__name__ in ("Parameter", "Buffer") for t in types):
            return NotImplemented
        with DisableTorchFunctionSubclass():
            return _answer(func, args, kwargs or {})

    def to_tensor(self, value: float) -> Tensor:
        """An ordinary tensor with ``value`` at masked-out elements, differentiable.

        >>> fb.masked.masked_tensor(fb.ones(2), fb.tensor([True, False])).to_tensor(7)
        tensor([1., 7.])
        """
        data = self.get_data()
        return where(self._mask, data, data.new_full((), value))

    def is_sparse_coo(self) -> bool:
        """Whether the elements are stored as COO: never, they are strided.

        >>> fb.masked.masked_tensor(fb.ones(1), fb.tensor([True])).is_sparse_coo()
        False
        """
        return False

    def is_sparse_csr(self) -> bool:  # type: ignore[override]  # a method in torch, a property of other tensors
        """Whether the elements are stored as CSR: never, they are strided.

        >>> fb.masked.masked_tensor(fb.ones(1), fb.tensor([True])).is_sparse_csr()
        False
        """
        return False

    def numpy(self, *, force: bool = False) -> Any:  # Any: never returns; Tensor's has an array
        """A RuntimeError: an array would hold masked-out elements; call ``to_tensor(value)`` first."""
        raise RuntimeError("MaskedTensor.numpy: an array has no mask; call to_tensor(value).numpy()")

    def tolist(self) -> Any:  # Any: never returns; Tensor's has nested lists
        """A RuntimeError: a list would hold masked-out elements; call ``to_tensor(value)`` first."""
        raise RuntimeError("MaskedTensor.tolist: a list has no mask; call to_tensor(value).tolist()")

    def __repr__(self, *, tensor_contents: object = None) -> str:
        data, mask = self.get_data().detach(), self._mask
        texts = _texts(data.tolist())
        if not data.ndim:
            known = bool(mask)
            return f"MaskedTensor({texts if known else '--'}, {known})"
        return f"MaskedTensor(\n{_block(texts, mask.tolist(), '  ')}\n)"


# -- making ------------------------------------------------------------------------------------------
def _check(name: str, data: object, mask: object) -> None:
    if not isinstance(data, Tensor) or isinstance(data, Masked):
        raise TypeError(f"{name}: expects data to be an ordinary tensor, got {type(data).__name__}")
    if not isinstance(mask, Tensor) or isinstance(mask, Masked):
        raise TypeError(f"{name}: expects mask to be an ordinary tensor, got {type(mask).__name__}")
    if mask.dtype is not _dt.bool_:
        raise TypeError(f"{name}: expects a bool mask, got {mask.dtype}")
    if data.shape != mask.shape:
        raise ValueError(f"{name}: expects a mask of data's shape {tuple(data.shape)}, got {tuple(mask.shape)}")


def _with_mask(data: Tensor, mask: Tensor) -> MaskedTensor:
    """The data with a mask, which is laid out over it and follows it to its device."""
    made: MaskedTensor = data.as_subclass(MaskedTensor)
    if mask.device != data.device:
        mask = mask.to(data.device)
    made._mask = mask if mask.shape == data.shape else mask.expand(tuple(data.shape))
    return made


def masked_tensor(data: Tensor, mask: Tensor, requires_grad: bool = False) -> MaskedTensor:
    """A masked tensor of copies of data and mask, without history, as ``tensor`` makes one. Errors: MaskedTensor's.

    >>> x = fb.masked.masked_tensor(fb.tensor([1.0, 2.0]), fb.tensor([True, False]), requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    MaskedTensor(
      [  2.0000,       --]
    )
    """
    _check("masked_tensor", data, mask)
    if data.requires_grad:
        warnings.warn("masked_tensor: data requires grad, which its copy does not lead to; as_masked_tensor keeps the "
                      "history", UserWarning, stacklevel=2)  # fmt: skip
    return MaskedTensor(data, mask, requires_grad)


def as_masked_tensor(data: Tensor, mask: Tensor) -> MaskedTensor:
    """A masked tensor of data with its history: the gradient of a masked-out element is 0. Errors: MaskedTensor's.

    >>> x = fb.tensor([1.0, 2.0], requires_grad=True)
    >>> fb.masked.as_masked_tensor(x, fb.tensor([True, False])).sum().backward()
    >>> x.grad
    tensor([1., 0.])
    """
    _check("as_masked_tensor", data, mask)
    # the elements are the same in both; a gradient passes where the mask is True
    return _with_mask(where(mask, data, data.detach()) if data.requires_grad else data.clone(), mask.clone())


def is_masked_tensor(obj: object, /) -> TypeGuard[MaskedTensor]:
    """Whether an object is a masked tensor.

    >>> fb.masked.is_masked_tensor(fb.ones(1))
    False
    """
    return isinstance(obj, MaskedTensor)


# -- answering ---------------------------------------------------------------------------------------
def _answer(func: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    name = getattr(func, "canonical", "") or getattr(func, "__qualname__", "").rpartition(".")[2]
    plain = name[:-1] if name.endswith("_") and not name.startswith("_") else name
    if kwargs.get("out") is not None:
        return NotImplemented
    if name in _WHOLE or name in ("__set__", "__delete__"):
        return func(*args, **kwargs)
    if name == "__get__":
        return _property(func, args)
    if plain in _EACH or name in _ALIKE:
        return _each(name, func, args, kwargs)
    if name in _MOVES or name in _JOINS:
        return _moved(func, args, kwargs, name in _JOINS)
    if isinstance(args[0] if args else kwargs.get("input"), Masked):
        if name in REDUCTIONS and name != "median" or name in _OF_ALL_OR_ANY:
            return _reduced(name, args, kwargs)
        if name in ALONG:
            return _along(name, args, kwargs)
    return _where(args, kwargs) if name == "where" else NotImplemented


def _property(func: Function, args: Sequence[Any]) -> Any:
    found, mask = func(*args), args[0]._mask
    if not isinstance(found, Tensor):
        return found
    return _with_mask(found, func(mask) if getattr(func, "__self__", None) in _TURNED else mask)


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, (list, tuple)):
        return [leaf for v in value for leaf in _leaves(v)]
    return [value]


def _common_mask(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor:
    first, *rest = [v._mask for v in _leaves([*args, *kwargs.values()]) if isinstance(v, Masked)]
    for mask in rest:
        if mask is not first and (mask.shape != first.shape or not bool((mask == first).all())):
            raise ValueError(f"{name}: expects operands with equal masks, got masks of shapes {tuple(first.shape)} and "
                             f"{tuple(mask.shape)} that differ")  # fmt: skip
    return first


def _each(name: str, func: Function, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    mask = _common_mask(name, args, kwargs)
    found = func(*args, **kwargs)
    return found if isinstance(found, Masked) or not isinstance(found, Tensor) else _with_mask(found, mask)


def _masks(value: Any, others: bool) -> Any:
    """The arguments with masks for masked tensors; with ``others`` masks of True for ordinary ones."""
    if isinstance(value, (list, tuple)):
        return type(value)([_masks(v, others) for v in value])
    if isinstance(value, Masked):
        return value._mask
    return value.new_ones(tuple(value.shape), dtype=_dt.bool_) if others and isinstance(value, Tensor) else value


def _moved(func: Function, args: Sequence[Any], kwargs: Mapping[str, Any], joins: bool) -> Any:
    found = func(*args, **kwargs)
    if any(isinstance(v, DType) for v in (*args, *kwargs.values())):  # view as another dtype
        return _with_mask(found, args[0]._mask)
    masks = func(*_masks(tuple(args), joins), **{k: _masks(v, joins) for k, v in kwargs.items()})
    return _joined(found, masks)


def _joined(found: Any, mask: Any) -> Any:
    if isinstance(found, Tensor):
        return _with_mask(found, mask)
    return type(found)(_joined(f, m) for f, m in zip(found, mask, strict=True))


def _named(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Masked, dict[str, Any]]:
    """The masked tensor, and the other arguments by torch's names."""
    given = {_OTHER_NAMES.get(k, k): v for k, v in kwargs.items()}
    first, *rest = args or [given.pop("input")]
    positions = _POSITIONS.get(name, _USUAL)
    if len(rest) > len(positions):
        raise TypeError(f"{name}: takes at most {len(positions)} arguments by position after input, got {len(rest)}")
    return first, {**dict(zip(positions, rest, strict=False)), **given}


def _reduced(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    x, options = _named(name, args, kwargs)
    if isinstance(options.get("dim"), bool):  # var(unbiased)
        options["unbiased"] = options.pop("dim")
    if options.get("ord") == "fro":
        del options["ord"]
    data, mask = x.as_subclass(Tensor), x._mask
    shape = {k: options[k] for k in ("dim", "keepdim") if k in options}
    if name in _OF_ALL_OR_ANY:
        filled = where(mask, data.bool(), mask.new_full((), _OF_ALL_OR_ANY[name]))
        found = getattr(filled, name)(**shape)
    else:
        found = REDUCTIONS[name](data, mask=mask, **options)
    return _with_mask(found, mask.any(**shape))


def _along(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    x, options = _named(name, args[:2], kwargs)
    options.pop("_stacklevel", None)
    return _with_mask(ALONG[name](x.as_subclass(Tensor), mask=x._mask, **options), x._mask)


def _where(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    given = dict(zip(("condition", "input", "other"), args, strict=False)) | dict(kwargs)
    if isinstance(given["condition"], Masked) or len(given) < 3:
        return NotImplemented
    condition = given["condition"]
    known = [v._mask if isinstance(v, Masked) else condition.new_ones((), dtype=_dt.bool_)
             for v in (given["input"], given["other"])]  # fmt: skip
    first, second = known
    return _with_mask(where(condition, given["input"], given["other"]), where(condition, first, second))


# -- printing ----------------------------------------------------------------------------------------
def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(v) for v in value]
    return f"{value:8.4f}" if isinstance(value, (float, complex)) else str(value)


def _block(texts: Any, mask: Any, indent: str) -> str:
    if not texts or not isinstance(texts[0], list):
        hidden = "--".rjust(max([8, *(len(t) for t, m in zip(texts, mask, strict=True) if m)]))
        shown = [t if m else hidden for t, m in zip(texts, mask, strict=True)]
        return f"{indent}[{', '.join(shown)}]"
    rows = [_block(t, m, indent + "  ") for t, m in zip(texts, mask, strict=True)]
    return f"{indent}[\n" + ",\n".join(rows) + f"\n{indent}]"
