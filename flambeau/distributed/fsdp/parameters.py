"""One parameter in its two forms: the shard that lasts, and the whole that comes and goes."""

from __future__ import annotations

import weakref
from collections.abc import Callable

from flambeau.core.box import box_of
from flambeau.core.creation import empty
from flambeau.core.device import device as Device
from flambeau.core.dtype import FLOATING, DType
from flambeau.core.state import no_grad
from flambeau.core.tensor import Tensor
from flambeau.distributed.fsdp.policies import CPUOffloadPolicy, OffloadPolicy
from flambeau.distributed.pieces import Piece, ShardedParameter, sharded, sharded_parameter
from flambeau.nn.module import Module
from flambeau.nn.parameter import Parameter

Place = tuple[Module, str]  # a module and the name of its parameter


class ShardedParam:
    """A parameter that is cut over the ranks: as :attr:`shard` between steps, as :attr:`whole` while it is used.

    The whole is one Parameter for all steps, whose memory changes: the graph's leaf is the same whenever a gradient
    arrives, be it after several forwards.
    """

    def __init__(
        self, places: list[Place], param: Parameter, piece: Piece, offload: OffloadPolicy,
        on_grad: Callable[[ShardedParam], None],
    ):  # fmt: skip
        self.places, self.piece, self.offload, self.on_grad = places, piece, offload, on_grad
        self._device: Device = param.device
        self.whole: Parameter | None = None
        self.original = weakref.ref(param)  # alive where a module outside of this group has it too
        with no_grad():
            local = piece.of(param.detach()).contiguous().clone()
        local = self._home(local)
        if self.offloaded and self.offload.pin_memory and param._key.backend.has("can_pin"):  # type: ignore[attr-defined]
            local = local.pin_memory(self._device)
        self.shard = sharded_parameter(local, piece, param.requires_grad)
        self._put(self.shard)

    @property
    def offloaded(self) -> bool:
        """Whether the shard lies on the host and the whole elsewhere."""
        return isinstance(self.offload, CPUOffloadPolicy) and self._device.type != "cpu"

    @property
    def device(self) -> Device:
        """Where the whole is used."""
        return self._device if self.offloaded else self.shard.device

    def refresh(self) -> None:
        """Take over a parameter that somebody has put in the shard's place, as ``load_state_dict(assign=True)``."""
        module, name = self.places[0]
        found = module._parameters.get(name)
        if found is None or found is self.shard or found is self.whole:
            return
        if tuple(found.shape) != self.piece.region.shape:
            raise RuntimeError(
                f"fully_shard: parameter {name!r} was replaced by one of shape {tuple(found.shape)}; this rank's shard "
                f"of {self.piece.shape} has shape {self.piece.region.shape}"
            )
        if isinstance(found, ShardedParameter):
            self.shard = found
        else:
            self.shard = sharded_parameter(found, self.piece, found.requires_grad)
        self._put(self.shard)

    def _home(self, local: Tensor) -> Tensor:
        """A shard, or its gradient, where the policy wants it."""
        if not isinstance(self.offload, CPUOffloadPolicy) or local.device.type == "cpu":
            return local
        return local.to("cpu")

    def _put(self, param: Parameter) -> None:
        for module, name in self.places:
            module._parameters[name] = param

    # -- to and from what is sent ------------------------------------------------------------------
    @property
    def width(self) -> int:
        """How many elements each rank sends of it, padding included."""
        return self.piece.chunk * (self.numel // max(self.piece.shape[self.piece.dim], 1))

    @property
    def numel(self) -> int:
        """How many elements the whole has."""
        count = 1
        for n in self.piece.shape:
            count *= n
        return count

    def first(self, t: Tensor) -> Tensor:
        """With the dimension that is cut in front."""
        return t.movedim(self.piece.dim, 0) if self.piece.dim else t

    def send_into(self, row: Tensor) -> None:
        """Write the shard to a row of :attr:`width` elements; what is padding stays."""
        local = self.first(self.shard.detach())
        row[: local.numel()].view(local.shape).copy_(local)

    def take_from(self, rows: Tensor) -> Tensor:
        """The whole, from the rows of all ranks."""
        moved = self.piece.shape[self.piece.dim], *self._rest()
        found = rows.reshape(self.piece.parts * self.piece.chunk, *moved[1:])[: moved[0]]
        if self.piece.dim:
            found = found.movedim(0, self.piece.dim)
        return found.contiguous()

    def spread_into(self, rows: Tensor, grad: Tensor) -> None:
        """Write a whole gradient to the rows of all ranks; what is padding stays."""
        grad, chunk = self.first(grad), self.piece.chunk
        even = grad.shape[0] // chunk if chunk else 0
        if even:
            rows[:even].view(even, chunk, *self._rest()).copy_(grad[: even * chunk].view(even, chunk, *self._rest()))
        left = grad[even * chunk :]
        if left.shape[0]:
            rows[even][: left.numel()].view(left.shape).copy_(left)

    def _rest(self) -> tuple[int, ...]:
        shape = self.piece.shape
        return (*shape[: self.piece.dim], *shape[self.piece.dim + 1 :])

    # -- the forms -----------------------------------------------------------------------------------
    def show_whole(self, values: Tensor) -> None:
        """Let the modules have the whole, whose memory is ``values``."""
        whole, wants = self.whole, self.shard.requires_grad
        if whole is None or whole._key is not values._key:
            whole = self.whole = Parameter(values, False)
        else:
            whole._array, whole._box = values._array, None
        box_of(whole)
        if whole.requires_grad is not wants:
            whole.requires_grad_(wants)
            if wants:
                whole.register_post_accumulate_grad_hook(self._arrived)
        self._put(whole)

    def _arrived(self, whole: Tensor) -> None:
        self.on_grad(self)

    def show_shard(self) -> None:
        """Let the modules have the shard, and give the whole's memory up."""
        self._put(self.shard)
        if self.whole is not None:
            # Of the same shape, so that a gradient that still arrives finds its place, and without memory.
            none = empty((1,) * self.whole.ndim, dtype=self.whole.dtype, device=self.whole.device)
            self.whole._array, self.whole._box = none.expand(self.piece.shape)._array, None

    def take_grad(self) -> Tensor | None:
        """The gradient that the whole has collected; it has none after that."""
        if self.whole is None or self.whole.grad is None:
            return None
        found, self.whole.grad = self.whole.grad, None
        return found.detach()

    def add_grad(self, row: Tensor) -> None:
        """Add this rank's part of a summed gradient, :attr:`width` elements, to the shard's."""
        local = self.first(self.shard)
        part = row[: local.numel()].view(local.shape)
        if self.piece.dim:
            part = part.movedim(0, self.piece.dim).contiguous()
        part = self._home(part.to(self.shard.dtype))
        if self.shard.grad is None:
            self.shard.grad = sharded(part, self.piece)
        else:
            self.shard.grad.add_(part)

    def gathered_dtype(self, asked: DType | None) -> DType:
        """What it is gathered in."""
        own: DType = self.shard.dtype
        return own if asked is None or own.category < FLOATING else asked
