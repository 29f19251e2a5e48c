"""Random numbers: the words of the generator, and the distributions computed from them.

``random_bits`` is the primitive; :mod:`flambeau.core.random` defines its words and every sampler, so that
bits, uniform numbers, integers and permutations are equal on every backend. Inside vmap, ``randomness=``
says whether elements share their draws; :func:`words` reserves as many counters as that needs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from operator import index
from typing import Any, TypeAlias, overload

from flambeau.core import dtype as dt
from flambeau.core import registry, state
from flambeau.core.box import mark_written
from flambeau.core.creation import Sizes, _shape, empty_like
from flambeau.core.declare import OpFunction, composite, op
from flambeau.core.device import DeviceLike, located
from flambeau.core.device import device as Device
from flambeau.core.dispatch import tensor_of
from flambeau.core.dtype import DType, DTypeLike
from flambeau.core.errors import ArgumentError, DTypeError
from flambeau.core.from_data import finished, resolve_device
from flambeau.core.generator import default_generator
from flambeau.core.keys import key_for, precise
from flambeau.core.memory_format import Layout, MemoryFormat, preserve_format
from flambeau.core.ops import storage
from flambeau.core.ops.elementwise import cos_p, log_p, minimum_p, sin_p, sqrt_p
from flambeau.core.out import check_out, deliver
from flambeau.core.public import public
from flambeau.core.random import UNIFORM_BITS, Philox, largest_below
from flambeau.core.record import CREATE, DTypeRule
from flambeau.core.tensor import Tensor
from flambeau.core.transforms.levels import copies

random_bits_p = op("random_bits(seed: Scalar, offset: Scalar, *, length: int, device: Device) -> Tensor", CREATE,
                 infer=lambda seed, offset, *, length, **p: (length,), differentiable=False, random=True, public=False,
                 dtype=DTypeRule("words", lambda d: dt.uint32, accepts=(dt.uint32,), promotes=False),
                 doc="``length`` words (uint32) of the stream of ``seed``, from block ``offset`` on.")  # fmt: skip


# -- draws -------------------------------------------------------------------------------------------
def words(count: int, device: Device, generator: Philox | None = None) -> Tensor:
    """``count`` random words (uint32) that no other draw from the generator gets."""
    source = default_generator if generator is None else generator
    reserved = count
    if state.current().levels:
        reserved *= copies()
    seed, offset = source.draw(reserved)
    return random_bits_p(seed, offset, count, device)


def _columns(bits: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Words 2i and 2i + 1 for each of ``n`` elements."""
    pairs = bits.reshape((n, 2))
    return pairs[:, 0], pairs[:, 1]


@composite("uniform_numbers(seed: Scalar, offset: Scalar, low: Scalar, high: Scalar, *, shape: Ints, dtype: DType, "
           "device: Device) -> Tensor", CREATE, infer=lambda *scalars, shape, **p: shape, dtype=storage.to_param,
           differentiable=False, random=True, public=False)  # fmt: skip
def uniform_numbers_p(
    seed: int, offset: int, low: float, high: float, *, shape: tuple[int, ...], dtype: DType, device: Device
) -> Tensor:
    """Numbers in [low, high) made of the words of the stream of ``seed``, from block ``offset`` on."""
    return _uniform_of(random_bits_p(seed, offset, words_for(shape, dtype), device), low, high, shape, dtype)


def words_for(shape: Sequence[int], dtype: DType) -> int:
    return math.prod(shape) * (2 if dtype is dt.float64 else 1)


def _uniform_of(bits: Tensor, low: float, high: float, shape: Sequence[int], dtype: DType) -> Tensor:
    if dtype is dt.float64 and key_for(bits.device, dtype).stored is not dtype:
        found = _upper_part(bits, math.prod(shape), dtype)
    elif dtype is dt.float64:
        first, second = _columns(bits, math.prod(shape))
        upper, lower = storage.cast_p(first >> 5, dtype=dtype), storage.cast_p(second >> 6, dtype=dtype)
        found = (upper * 2.0**26 + lower) * 2.0**-53
    else:
        count = UNIFORM_BITS[dtype.name]
        found = storage.cast_p(bits >> (32 - count), dtype=dtype) * 2.0**-count
    found = found.reshape(tuple(shape))
    if (low, high) == (0.0, 1.0):
        return found
    found = found * (high - low) + low
    return minimum_p(found, largest_below(high, dtype.name)) if low < high else found


def _upper_part(bits: Tensor, n: int, dtype: DType) -> Tensor:
    """The numbers in [0, 1) that float64 makes of the words, cut off to the 24 bits of float32."""
    return storage.cast_p(_columns(bits, n)[0] >> 8, dtype=dtype) * 2.0**-24


def precisely_uniform(shape: Sequence[int], device: Device, generator: Philox | None = None) -> Tensor:
    """Numbers in [0, 1) in float64, or where the device has none the same ones in float32."""
    dtype, n = precise(device), math.prod(shape)
    if dtype is dt.float64:
        return uniform(shape, dtype, device, generator)
    return _upper_part(words(2 * n, device, generator), n, dtype).reshape(tuple(shape))


def uniform(
    shape: Sequence[int], dtype: DType, device: Device, generator: Philox | None = None,
    low: float | Tensor = 0.0, high: float | Tensor = 1.0,
) -> Tensor:  # fmt: skip
    """Numbers in [low, high) of a floating dtype, with as many random bits as stay below 1 exactly in [0, 1)."""
    low, high = float(low), float(high)  # limits may have been computed
    count = words_for(shape, dtype)
    now = state.current()
    if now.levels:
        return _uniform_of(words(count, device, generator), low, high, shape, dtype)
    return _drawn(uniform_numbers_p, count, low, high, shape, dtype, device, generator, now.plain)


def _drawn(
    record: OpFunction[Tensor], count: int, a: float, b: float, shape: Sequence[int], dtype: DType, device: Device,
    generator: Philox | None, plain: bool,
) -> Tensor:  # fmt: skip
    """What a record of numbers makes of ``count`` words with a and b as its parameters."""
    seed, offset = (default_generator if generator is None else generator).draw(count)
    if plain:  # the common case written out
        key = key_for(device, dtype)
        kernel = getattr(key, record.op.name)
        if kernel is not None:
            return tensor_of(kernel(seed, offset, a, b, shape=shape, dtype=dtype, index=device.number), key)
    made: Tensor = record(seed, offset, a, b, tuple(shape), dtype, device)
    return made


@composite("normal_numbers(seed: Scalar, offset: Scalar, mean: Scalar, std: Scalar, *, shape: Ints, dtype: DType, "
           "device: Device) -> Tensor", CREATE, infer=lambda *scalars, shape, **p: shape, dtype=storage.to_param,
           differentiable=False, random=True, public=False)  # fmt: skip
def normal_numbers_p(
    seed: int, offset: int, mean: float, std: float, *, shape: tuple[int, ...], dtype: DType, device: Device
) -> Tensor:
    """Normal numbers made of the words of the stream of ``seed``, from block ``offset`` on."""
    pairs, compute = _pairs_for(shape), _normal_compute(dtype)
    return _normal_of(uniform_numbers_p(seed, offset, 0.0, 1.0, pairs, compute, device), mean, std, shape, dtype)


def _pairs_for(shape: Sequence[int]) -> tuple[int, int]:
    """The shape of the uniform numbers that make normal ones."""
    return (math.prod(shape) + 1) // 2, 2


def _normal_compute(dtype: DType) -> DType:
    return dtype if dtype is dt.float64 else dt.float32


def _normal_of(pairs: Tensor, mean: float, std: float, shape: Sequence[int], dtype: DType) -> Tensor:
    radius, angle = sqrt_p(log_p(1.0 - pairs[:, :1]) * -2.0), pairs[:, 1:] * (2.0 * math.pi)
    both = storage.cat_p([radius * cos_p(angle), radius * sin_p(angle)], 1).reshape((2 * pairs.shape[0],))
    found = both[: math.prod(shape)].reshape(tuple(shape))
    if (mean, std) != (0.0, 1.0):
        found = found * std + mean
    return found if dtype is pairs.dtype else storage.cast_p(found, dtype=dtype)


def drawn_into(x: Tensor, numbers: str, count: int, a: float, b: float, generator: Philox | None, writer: str) -> bool:
    """Draw straight to the memory of ``x``, where that is all there is to do; else False, and nothing is drawn.

    ``numbers`` is the record with a and b as its parameters, for which ``count`` words are taken.
    """
    key = x._key
    if not storage.unwatched(x):
        return False
    kernel, array = getattr(key, numbers), x._array
    if not (getattr(kernel, "fills", False) and array.flags.c_contiguous and array.flags.behaved):
        return False
    seed, offset = (default_generator if generator is None else generator).draw(count)
    kernel(seed, offset, a, b, shape=array.shape, dtype=key.dtype, index=key.device.number, out=array)
    mark_written(x, writer)
    return True


def normal_words(shape: Sequence[int], dtype: DType) -> int:  # how many normal numbers take
    return words_for(_pairs_for(shape), _normal_compute(dtype))


def standard_normal(
    shape: Sequence[int], dtype: DType, device: Device, generator: Philox | None = None, mean: float = 0.0,
    std: float = 1.0,
) -> Tensor:  # fmt: skip
    """Normal numbers by Box and Muller, two from each pair of uniform ones; float16 and bfloat16 from float32 ones.

    The standard ones, unless times ``std`` plus ``mean``.
    """
    mean, std = float(mean), float(std)  # they may have been computed
    pairs, compute, now = _pairs_for(shape), _normal_compute(dtype), state.current()
    if now.levels:
        return _normal_of(uniform(pairs, compute, device, generator), mean, std, shape, dtype)
    count = normal_words(shape, dtype)
    return _drawn(normal_numbers_p, count, mean, std, shape, dtype, device, generator, now.plain)


@composite("integer_numbers(seed: Scalar, offset: Scalar, low: Scalar, high: Scalar, *, shape: Ints, dtype: DType, "
           "device: Device) -> Tensor", CREATE, infer=lambda *scalars, shape, **p: shape, dtype=storage.to_param,
           differentiable=False, random=True, public=False)  # fmt: skip
def integer_numbers_p(
    seed: int, offset: int, low: int, high: int, *, shape: tuple[int, ...], dtype: DType, device: Device
) -> Tensor:
    """Whole numbers in [low, high) made of the words of the stream of ``seed``, from block ``offset`` on."""
    return _integers_of(random_bits_p(seed, offset, 2 * math.prod(shape), device), low, high, shape, dtype)


def integers(
    low: int, high: int, shape: Sequence[int], dtype: DType, device: Device, generator: Philox | None
) -> Tensor:
    """Whole numbers in [low, high): the upper half of the 128-bit product of the span and 64 random bits."""
    n, now = math.prod(shape), state.current()
    if now.levels:
        return _integers_of(words(2 * n, device, generator), low, high, shape, dtype)
    return _drawn(integer_numbers_p, 2 * n, low, high, shape, dtype, device, generator, now.plain)


def _integers_of(bits: Tensor, low: int, high: int, shape: Sequence[int], dtype: DType) -> Tensor:
    """The same from two words for each number."""
    n, span, device = math.prod(shape), high - low, bits.device
    if key_for(device, dt.int64).stored is not dt.int64:
        return _integers_of_words(low, high, shape, dtype, bits)
    unsigned = registry.resolve(device).supports(dt.uint64, device.number)
    wide = dt.uint64 if unsigned else dt.int64
    first, second = (storage.cast_p(w, dtype=wide) for w in _columns(bits, n))
    small, large = span & 0xFFFFFFFF, span >> 32

    def upper(x: Tensor) -> Tensor:
        return x >> 32 if unsigned else x >> 32 & 0xFFFFFFFF  # no copies of a sign

    middle = first * small + upper(second * small)
    found = upper(middle)
    if large:
        found = first * large + found + upper(second * large + (middle & 0xFFFFFFFF))
    shifted = storage.cast_p(found, dtype=dt.int64) + low
    return storage.cast_p(shifted, dtype=dtype).reshape(tuple(shape))


def _integers_of_words(low: int, high: int, shape: Sequence[int], dtype: DType, bits: Tensor) -> Tensor:
    """The numbers of :func:`integers` in 32-bit steps, for devices without 64-bit integers.

    DTypeError where the bounds leave 32 bits.
    """
    check = key_for(bits.device, dt.int64)
    if dtype is not dt.uint32 or high - 1 >= 1 << 32 or low < 0:
        low, _ = check.element(low), check.element(high - 1)
    first, second = _columns(bits, math.prod(shape))
    span = high - low
    if span == 1 << 32:
        found = first
    else:
        product, carry = _times(first, span)
        found = product + storage.cast_p(carry + _times(second, span)[0] < carry, dtype=dt.uint32)
    shifted = found + (low & 0xFFFFFFFF)  # modulo 2**32
    return storage.cast_p(shifted, dtype=dtype).reshape(tuple(shape))


def _times(word: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """The upper and the lower half of the 64-bit product of words and a number, by their halves of 16 bits."""
    small, large = factor & 0xFFFF, factor >> 16
    low, high = word & 0xFFFF, word >> 16
    middle = high * small + (low * small >> 16)
    cross = low * large + (middle & 0xFFFF)
    return high * large + (middle >> 16) + (cross >> 16), word * factor


@composite("dropout_mask(seed: Scalar, offset: Scalar, limit: Scalar, *, shape: Ints, device: Device) -> Tensor",
           CREATE, infer=lambda *scalars, shape, device: shape, dtype=DTypeRule("mask", result="bool", promotes=False),
           differentiable=False, public=False)  # fmt: skip
def dropout_mask_p(seed: int, offset: int, limit: int, *, shape: tuple[int, ...], device: Device) -> Tensor:
    """Which of the random words from ``offset`` on are below ``limit``."""
    return (random_bits_p(seed, offset, math.prod(shape), device) < limit).reshape(shape)


def words_below(limit: int, shape: Sequence[int], device: Device, generator: Philox | None = None) -> Tensor:
    """A mask of ``shape``: which of as many random words are below ``limit``, itself below 2**32."""
    if (now := state.current()).levels:  # vmap has a say in what is drawn
        return (words(math.prod(shape), device, generator) < limit).reshape(tuple(shape))
    shape = tuple(shape)
    seed, offset = (default_generator if generator is None else generator).draw(math.prod(shape))
    if now.plain:  # the common case written out
        key = key_for(located(device), dt.bool_)
        if key.stored is dt.bool_ and key.dropout_mask is not None:
            return tensor_of(key.dropout_mask(seed, offset, limit, shape=shape, index=key.device.number), key)
    return dropout_mask_p(seed, offset, limit, shape, device)


def below(probability: float, shape: Sequence[int], device: Device, generator: Philox | None = None) -> Tensor:
    """A mask, True with ``probability`` (a Python number): integers are compared, so it is the same everywhere."""
    limit = math.floor(probability * 2.0**32)
    if limit >= 1 << 32:
        bits = words(math.prod(shape), device, generator)
        return (bits == bits).reshape(tuple(shape))
    return words_below(limit, shape, device, generator)


Draw: TypeAlias = Callable[[Sequence[int], DType, Device, Philox | None], Tensor]


# -- constructors ------------------------------------------------------------------------------------
def _floating(name: str, dtype: DTypeLike | None) -> DType:
    chosen = dt.get_default_dtype() if dtype is None else dt.as_dtype(dtype)
    if chosen.category < dt.FLOATING:
        raise DTypeError(f"{name}: not implemented for {chosen.name}; it makes floating point and complex numbers")
    return chosen


def _filled(
    draw: Draw, name: str, shape: Sequence[int], dtype: DTypeLike | None, device: DeviceLike,
    generator: Philox | None, scale: float = 1.0,
) -> Tensor:  # fmt: skip
    """A draw in any floating dtype; a complex one is made of two draws in one, times ``scale``."""
    chosen = _floating(name, dtype)
    if chosen.category == dt.FLOATING:
        return draw(shape, chosen, resolve_device(device), generator)
    parts = draw((*shape, 2), chosen.to_real(), resolve_device(device), generator)
    return storage.view_as_complex_p(parts * scale if scale != 1.0 else parts)


@public(method=False)
def rand(*size: Sizes, generator: Philox | None = None, out: Tensor | None = None, dtype: DTypeLike | None = None,
         device: DeviceLike = None, requires_grad: bool = False, pin_memory: bool = False,
         layout: Layout | None = None) -> Tensor:  # fmt: skip
    """Uniform numbers in [0, 1): ``rand(2, 3)`` or ``rand((2, 3))``, from the default generator or ``generator``.

    >>> g = fb.Generator().manual_seed(0)
    >>> fb.rand(2, generator=g)
    tensor([0.3990, 0.8805])
    """
    found = _filled(uniform, "rand", _shape(size, "rand"), dtype, device, generator)
    check_out("rand", dtype, out)
    return finished(deliver("rand", found, out), requires_grad, pin_memory, layout)


@public(method=False)
def randn(*size: Sizes, generator: Philox | None = None, out: Tensor | None = None, dtype: DTypeLike | None = None,
          device: DeviceLike = None, requires_grad: bool = False, pin_memory: bool = False,
          layout: Layout | None = None) -> Tensor:  # fmt: skip
    """Normal numbers of mean 0 and variance 1 (complex ones: 1/2 in each part).

    >>> fb.randn(2, 3).shape
    flambeau.Size([2, 3])
    """
    found = _filled(standard_normal, "randn", _shape(size, "randn"), dtype, device, generator, math.sqrt(0.5))
    check_out("randn", dtype, out)
    return finished(deliver("randn", found, out), requires_grad, pin_memory, layout)


@overload
def randint(high: int, size: Sequence[int], *, generator: Philox | None = ..., out: Tensor | None = ...,
            dtype: DTypeLike | None = ..., device: DeviceLike = ..., requires_grad: bool = ...,
            pin_memory: bool = ..., layout: Layout | None = ...) -> Tensor: ...  # fmt: skip
@overload
def randint(low: int, high: int, size: Sequence[int], *, generator: Philox | None = ..., out: Tensor | None = ...,
            dtype: DTypeLike | None = ..., device: DeviceLike = ..., requires_grad: bool = ...,
            pin_memory: bool = ..., layout: Layout | None = ...) -> Tensor: ...  # fmt: skip
@public(method=False)
def randint(*args: int | Sequence[int], generator: Philox | None = None, out: Tensor | None = None,
            dtype: DTypeLike | None = None, device: DeviceLike = None, requires_grad: bool = False,
            pin_memory: bool = False, layout: Layout | None = None, **kw: int | Sequence[int]) -> Tensor:  # fmt: skip
    """``randint(high, size)`` or ``randint(low, high, size)``: whole numbers in [low, high), int64 by default.

    ValueError where the span is empty or above 2**64.

    >>> fb.randint(0, 1, (3,))
    tensor([0, 0, 0])
    """
    low, high, size = _bounds(args, kw)
    chosen = dt.int64 if dtype is None else dt.as_dtype(dtype)
    low, high = int(low), int(high)
    check_span("randint", low, high)
    found = integers(low, high, _shape((tuple(size),), "randint"), chosen, resolve_device(device), generator)
    check_out("randint", dtype, out)
    return finished(deliver("randint", found, out), requires_grad, pin_memory, layout)


def _bounds(args: Sequence[Any], kw: Mapping[str, Any]) -> tuple[int, int, Sequence[int]]:
    """(low, high, size) from torch's two forms, by position or keyword: their names tell the numbers from the sizes."""
    free = [n for n in (("low", "high", "size") if len(args) + len(kw) > 2 else ("high", "size")) if n not in kw]
    given = {**dict(zip(free, args, strict=False)), **kw}
    if len(args) > len(free) or not {"high", "size"} <= set(given) <= {"low", "high", "size"}:
        raise TypeError(
            f"randint: expected (high, size) or (low, high, size), got {len(args)} argument(s) and {sorted(kw)}"
        )
    return given.get("low", 0), given["high"], given["size"]


def check_span(name: str, low: float, high: float) -> None:
    if not low < high:
        raise ArgumentError(f"{name}: expects low < high, got low={low} and high={high}")
    if high - low > 1 << 64:
        raise ArgumentError(f"{name}: high - low must be at most 2**64, got {high - low}")


@composite("permutation(seed: Scalar, offset: Scalar, *, length: int, device: Device) -> Tensor", CREATE,
           infer=lambda seed, offset, *, length, **p: (length,), differentiable=False, random=True, public=False,
           dtype=DTypeRule("positions", lambda d: dt.int64, accepts=(dt.int64,), promotes=False))  # fmt: skip
def permutation_p(seed: int, offset: int, *, length: int, device: Device) -> Tensor:
    """The whole numbers below ``length`` in the order of the 64-bit keys that the stream has from ``offset`` on."""
    return _ordered(random_bits_p(seed, offset, 2 * length, device), length)


def _ordered(bits: Tensor, n: int) -> Tensor:
    first, second = (storage.cast_p(w, dtype=dt.int64) for w in _columns(bits, n))
    if key_for(bits.device, dt.int64).stored is dt.int64:
        return (first << 32 | second).argsort(0, stable=True)
    order = (second ^ -(1 << 31)).argsort(0, stable=True)  # by the lower half, which has no sign, then by the upper
    return order[first[order].argsort(0, stable=True)]


def _permutation(n: int, device: Device, generator: Philox | None) -> Tensor:
    if (now := state.current()).levels:
        return _ordered(words(2 * n, device, generator), n)
    seed, offset = (default_generator if generator is None else generator).draw(2 * n)
    if now.plain:  # the common case written out
        key = key_for(device, dt.int64)
        if key.permutation is not None:
            return tensor_of(key.permutation(seed, offset, length=n, index=device.number), key)
    return permutation_p(seed, offset, n, device)


@public(method=False)
def randperm(n: int, *, generator: Philox | None = None, out: Tensor | None = None, dtype: DTypeLike | None = None,
             device: DeviceLike = None, requires_grad: bool = False, pin_memory: bool = False,
             layout: Layout | None = None) -> Tensor:  # fmt: skip
    """The whole numbers below ``n`` in random order: the stable argsort of random 64-bit keys.

    >>> fb.randperm(4).sort().values
    tensor([0, 1, 2, 3])
    """
    if n < 0:
        raise ArgumentError(f"randperm: n must not be negative, got {n}")
    found = _permutation(index(n), resolve_device(device), generator)
    if dtype is not None and dt.as_dtype(dtype) is not dt.int64:
        found = storage.cast_p(found, dtype=dt.as_dtype(dtype))
    check_out("randperm", dtype, out)
    return finished(deliver("randperm", found, out), requires_grad, pin_memory, layout)


def _ordered_like(drawn: Tensor, input: Tensor, memory_format: MemoryFormat | None) -> Tensor:
    """What was drawn, its elements in memory as a tensor like ``input`` has them."""
    if (memory_format is None or memory_format is preserve_format) and input.is_contiguous():
        return drawn
    with state.no_grad():
        like = empty_like(input, dtype=drawn.dtype, device=drawn.device, memory_format=memory_format)
        return like.copy_(drawn)


@public(method=False)
def rand_like(
    input: Tensor, *, generator: Philox | None = None, dtype: DTypeLike | None = None,
    device: DeviceLike = None, requires_grad: bool = False, pin_memory: bool = False,
    layout: Layout | None = None, memory_format: MemoryFormat | None = None,
) -> Tensor:  # fmt: skip
    """:func:`rand` with the shape, dtype and device of ``input``.

    >>> fb.rand_like(fb.ones(2, 3)).shape
    flambeau.Size([2, 3])
    """
    found = rand(tuple(input.shape), generator=generator, dtype=dtype or input.dtype, device=device or input.device)
    return finished(_ordered_like(found, input, memory_format), requires_grad, pin_memory, layout)


@public(method=False)
def randn_like(
    input: Tensor, *, generator: Philox | None = None, dtype: DTypeLike | None = None,
    device: DeviceLike = None, requires_grad: bool = False, pin_memory: bool = False,
    layout: Layout | None = None, memory_format: MemoryFormat | None = None,
) -> Tensor:  # fmt: skip
    """:func:`randn` with the shape, dtype and device of ``input``.

    >>> fb.randn_like(fb.ones(2, 3)).shape
    flambeau.Size([2, 3])
    """
    found = randn(tuple(input.shape), generator=generator, dtype=dtype or input.dtype, device=device or input.device)
    return finished(_ordered_like(found, input, memory_format), requires_grad, pin_memory, layout)


@public(method=False)
def randint_like(
    input: Tensor, low: int | None = None, high: int | None = None, *, generator: Philox | None = None,
    dtype: DTypeLike | None = None, device: DeviceLike = None, requires_grad: bool = False,
    pin_memory: bool = False, layout: Layout | None = None, memory_format: MemoryFormat | None = None,
) -> Tensor:  # fmt: skip
    """:func:`randint` with the shape, dtype and device of ``input``.

    >>> fb.randint_like(fb.ones(2, 3), 10).shape
    flambeau.Size([2, 3])
    """
    if high is None:
        low, high = None, low
    if high is None:
        raise TypeError("randint_like: high is needed")
    found = randint(low or 0, high, tuple(input.shape), generator=generator, dtype=dtype or input.dtype,
                    device=device or input.device)  # fmt: skip
    return finished(_ordered_like(found, input, memory_format), requires_grad, pin_memory, layout)
