"""The ``Generator`` that random numbers are drawn from, and the default one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from operator import index

from flambeau.core.blame import explain_functions, explain_methods, plain
from flambeau.core.device import device as Device
from flambeau.core.device import located
from flambeau.core.dtype import uint8
from flambeau.core.events import host, refuse
from flambeau.core.from_data import tensor
from flambeau.core.random import Philox
from flambeau.core.tensor import Tensor


class Generator(Philox):
    """A seed and a position in its stream of random words; every sampler takes one as ``generator=``.

    ``device`` is kept for PyTorch's sake: the same generator gives the same numbers on every device.
    Drawing is safe from several threads at once; each draw gets counters of its own.

    >>> g = Generator().manual_seed(7)
    >>> g.reserve(5), g.reserve(1), g.state
    (0, 2, (7, 3))
    """

    __slots__ = ("device",)

    def __init__(self, device: Device | str = "cpu"):
        super().__init__()
        self.device = located(device)

    def draw(self, count: int) -> tuple[int, int]:
        """The seed and the offset for ``count`` words, read together."""
        return host(super().draw, count if isinstance(count, int) else index(count))  # it may be a tensor

    @property
    def state(self) -> tuple[int, int]:
        """(seed, offset), as plain ints; may be assigned."""
        return host(self._place)

    @state.setter
    def state(self, value: tuple[int, int]) -> None:
        host(self._go_to, *value)

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream of ``seed``, an int in [-2**63, 2**64) (a negative one counts modulo 2**64)."""
        host(self._start, seed)
        return self

    def _start(self, seed: int) -> None:
        self._go_to(_checked_seed(seed), 0)

    def seed(self) -> int:
        """Start the stream of a seed drawn from the operating system, and return that seed."""
        return host(self._start_anywhere)

    def _start_anywhere(self) -> int:
        chosen = int.from_bytes(os.urandom(8), "little")
        self._start(chosen)
        return chosen

    def initial_seed(self) -> int:
        """The seed of the present stream."""
        return self.state[0]

    def get_offset(self) -> int:
        """How many blocks of four words have been taken."""
        return self.state[1]

    def set_offset(self, offset: int) -> None:
        """Go on at block ``offset`` (int, not negative) of the present stream."""
        host(self._set_offset, offset)

    def _set_offset(self, offset: int) -> None:
        if offset < 0:
            raise ValueError(f"Generator.set_offset: offset must not be negative, got {offset}")
        self._go_to(self._seed, offset)

    def get_state(self) -> Tensor:
        """The state as a uint8 Tensor of 16 elements on the CPU: seed and offset, little end first."""
        refuse("get_state() makes a tensor of a generator's state; its attribute state, and fork_rng, can be recorded")
        return tensor(list(_pack(self._place())), dtype=uint8, device="cpu")

    def set_state(self, new_state: Tensor) -> Generator:
        """Go on from what :meth:`get_state` returned; raises ValueError for anything else."""
        values = new_state.tolist() if hasattr(new_state, "tolist") else list(new_state)
        try:
            self.state = _unpack(bytes(values))
        except (TypeError, ValueError):
            raise ValueError(
                "Generator.set_state: new_state must be the uint8 tensor of 16 elements that get_state() returns, "
                f"got {type(new_state).__name__} of {len(values)} elements"
            ) from None
        return self

    def clone_state(self) -> Generator:
        """A generator of its own that goes on from the same state."""
        twin = Generator(self.device)
        twin.state = self.state
        return twin

    def graphsafe_get_state(self) -> Generator:
        """NotImplementedError: there are no graphs of recorded work that could share a state."""
        raise NotImplementedError("graphsafe_get_state is not supported in this Generator")

    def graphsafe_set_state(self, state: Generator) -> Generator:
        """NotImplementedError, as :meth:`graphsafe_get_state`."""
        raise NotImplementedError("graphsafe_set_state is not supported in this Generator")

    def __reduce__(self) -> tuple[Callable[..., Generator], tuple[Device, tuple[int, int]]]:
        return _restore, (self.device, self._place())

    def __repr__(self) -> str:
        seed, offset = self.state
        return f"<flambeau.Generator device={self.device}, seed={seed}, offset={offset}>"


def _restore(device: Device, state: tuple[int, int]) -> Generator:
    generator = Generator(device)
    generator.state = state
    return generator


def _checked_seed(seed: int) -> int:
    try:
        number = int(seed)
    except (TypeError, ValueError):
        raise TypeError(f"manual_seed: seed must be an int, got {seed!r} ({type(seed).__name__})") from None
    if not -(1 << 63) <= number < 1 << 64:
        raise ValueError(f"manual_seed: seed must be in [-2**63, 2**64), got {number}")
    return number % (1 << 64)


def _pack(state: tuple[int, int]) -> bytes:
    return b"".join(number.to_bytes(8, "little") for number in state)


def _unpack(data: bytes) -> tuple[int, int]:
    if len(data) != 16:
        raise ValueError("a state has 16 bytes")
    return int.from_bytes(data[:8], "little"), int.from_bytes(data[8:], "little")


#: What the samplers draw from when no ``generator`` is given; seeded by the operating system at start.
default_generator = Generator()
default_generator.seed()


def manual_seed(seed: int) -> Generator:
    """Seed the default generator, for every device; returns it. ``seed``: an int in [-2**63, 2**64).

    >>> _ = fb.manual_seed(0)
    >>> a = fb.rand(2)
    >>> _ = fb.manual_seed(0)
    >>> fb.equal(a, fb.rand(2))
    True
    """
    return default_generator.manual_seed(seed)


def seed() -> int:
    """Seed the default generator from the operating system; returns the seed.

    >>> isinstance(fb.seed(), int)
    True
    """
    return default_generator.seed()


def initial_seed() -> int:
    """The seed that the default generator was last given.

    >>> _ = fb.manual_seed(7)
    >>> fb.initial_seed()
    7
    """
    return default_generator.initial_seed()


def get_rng_state() -> Tensor:
    """The default generator's state, a uint8 Tensor of 16 elements.

    >>> state = fb.get_rng_state()
    >>> a = fb.rand(2)
    >>> fb.set_rng_state(state)
    >>> fb.equal(a, fb.rand(2))
    True
    """
    return default_generator.get_state()


def set_rng_state(new_state: Tensor) -> None:
    """Set the default generator's state to what :func:`get_rng_state` returned.

    >>> state = fb.get_rng_state()
    >>> a = fb.rand(2)
    >>> fb.set_rng_state(state)
    >>> fb.equal(a, fb.rand(2))
    True
    """
    default_generator.set_state(new_state)


@contextlib.contextmanager
def fork_rng(devices: object = None, enabled: bool = True, *, device_type: str | None = None) -> Iterator[None]:
    """Whatever is drawn inside, the default generator goes on afterwards as if nothing had been drawn.

    ``devices`` and ``device_type`` are accepted for PyTorch's sake; one generator serves them all.

    >>> with fb.random.fork_rng():
    ...     _ = fb.rand(2)
    """
    before = default_generator.state
    try:
        yield
    finally:
        if enabled:
            default_generator.state = before


explain_functions(globals(), "manual_seed get_rng_state set_rng_state fork_rng", wrap=plain)
explain_methods(Generator)
