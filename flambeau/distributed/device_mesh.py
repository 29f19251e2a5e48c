"""The ranks of a job as an array of one or more dimensions, with a group along each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np

from flambeau.core.exchange import from_numpy
from flambeau.core.tensor import Tensor
from flambeau.distributed import groups
from flambeau.distributed.process_group import ProcessGroup

__all__ = ["DeviceMesh", "init_device_mesh"]

Ranks: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Dimension: TypeAlias = int | str


class DeviceMesh:
    """Ranks in an array; every rank of the job makes the same ones, in the same order.

    ``mesh`` are the ranks, as a tensor or nested lists; ``mesh_dim_names`` name its dimensions. A rank has one group
    along each dimension: of those that differ from it in that coordinate alone. ``mesh["name"]`` is the part of the
    mesh along some dimensions in which this rank is.
    """

    device_type: str
    mesh_dim_names: tuple[str, ...] | None

    def __init__(
        self, device_type: str, mesh: Tensor | Sequence[Any] | Ranks, *, mesh_dim_names: Sequence[str] | None = None,
        backend_override: Mapping[Dimension, str] | None = None, _groups: Sequence[ProcessGroup] | None = None,
    ):  # fmt: skip
        values = mesh.numpy() if isinstance(mesh, Tensor) else mesh
        self._ranks: Final[Ranks] = np.asarray(values, np.int64)
        self.device_type = device_type
        self.mesh_dim_names = None if mesh_dim_names is None else tuple(mesh_dim_names)
        self._check()
        self._rank = groups.get_rank()
        place = np.argwhere(self._ranks == self._rank)
        self._place: tuple[int, ...] | None = tuple(int(i) for i in place[0]) if len(place) else None
        self._flattened: dict[str, DeviceMesh] = {}
        self._groups = list(_groups) if _groups is not None else self._make(backend_override or {})

    def _check(self) -> None:
        flat = self._ranks.reshape(-1).tolist()
        size = groups.get_world_size()
        if not flat or len(set(flat)) < len(flat) or not all(0 <= r < size for r in flat):
            raise RuntimeError(f"DeviceMesh: mesh needs different ranks in [0, {size}), got {self._ranks.tolist()}")
        names = self.mesh_dim_names
        if names is not None and (len(names) != self._ranks.ndim or len(set(names)) < len(names)):
            raise RuntimeError(
                f"DeviceMesh: mesh_dim_names needs {self._ranks.ndim} different names, got {list(names)}"
            )

    def _make(self, backends: Mapping[Dimension, str]) -> list[ProcessGroup]:
        """The groups along each dimension; this rank keeps those that it is in."""
        found: list[ProcessGroup] = []
        for dim in range(self._ranks.ndim):
            name = self.mesh_dim_names[dim] if self.mesh_dim_names else str(dim)
            backend = backends.get(dim, backends.get(name))
            lines = np.moveaxis(self._ranks, dim, -1).reshape(-1, self._ranks.shape[dim])
            whole = groups.world()
            if backend is None and len(lines) == 1 and lines[0].tolist() == list(range(whole.size())):
                found.append(whole)
                continue
            for line in lines.tolist():
                made = groups.new_group(line, backend=backend, group_desc=f"mesh_{name}", sort_ranks=False)
                if isinstance(made, ProcessGroup):
                    found.append(made)
        return found

    @staticmethod
    def from_group(
        group: ProcessGroup | Sequence[ProcessGroup], device_type: str, mesh: Tensor | Sequence[Any] | None = None,
        *, mesh_dim_names: Sequence[str] | None = None,
    ) -> DeviceMesh:  # fmt: skip
        """A mesh over groups that there are: one for each dimension. ``mesh`` is needed for several."""
        along = [group] if isinstance(group, ProcessGroup) else list(group)
        if mesh is None:
            if len(along) != 1:
                raise ValueError("DeviceMesh.from_group: several groups need mesh, which says where the ranks stand")
            mesh = list(along[0].ranks)
        found = DeviceMesh(device_type, mesh, mesh_dim_names=mesh_dim_names, _groups=along)
        if found.ndim != len(along):
            raise ValueError(
                f"DeviceMesh.from_group: mesh has {found.ndim} dimensions, and there are {len(along)} groups"
            )
        return found

    # -- what it is -----------------------------------------------------------------------------
    @property
    def mesh(self) -> Tensor:
        """The ranks."""
        return from_numpy(self._ranks.copy())

    @property
    def shape(self) -> tuple[int, ...]:
        """How many ranks there are along each dimension."""
        return tuple(self._ranks.shape)

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._ranks.ndim

    def size(self, mesh_dim: int | None = None) -> int:
        """How many ranks there are, or along one dimension."""
        return int(self._ranks.size if mesh_dim is None else self._ranks.shape[mesh_dim])

    def get_rank(self) -> int:
        """This process's rank in the job."""
        return self._rank

    def get_coordinate(self) -> tuple[int, ...] | None:
        """Where this rank stands; None where it is not in the mesh."""
        return self._place

    def get_local_rank(self, mesh_dim: Dimension | None = None) -> int:
        """This rank's coordinate along a dimension, which a mesh of one need not name."""
        dim = self._dimension("get_local_rank", mesh_dim)
        if self._place is None:
            raise RuntimeError(f"DeviceMesh.get_local_rank: rank {self._rank} is not in {self!r}")
        return self._place[dim]

    def get_group(self, mesh_dim: Dimension | None = None) -> ProcessGroup:
        """The group along a dimension in which this rank is; a mesh of one dimension need not name it."""
        dim = self._dimension("get_group", mesh_dim)
        if self._place is None:
            raise RuntimeError(f"DeviceMesh.get_group: rank {self._rank} is not in {self!r}")
        return self._groups[dim]

    def get_all_groups(self) -> list[ProcessGroup]:
        """The groups along all dimensions in which this rank is."""
        return [self.get_group(dim) for dim in range(self.ndim)]

    def _dimension(self, call: str, mesh_dim: Dimension | None) -> int:
        if mesh_dim is None:
            if self.ndim > 1:
                raise RuntimeError(f"DeviceMesh.{call}: a mesh of {self.ndim} dimensions needs mesh_dim")
            return 0
        if isinstance(mesh_dim, str):
            if mesh_dim not in (self.mesh_dim_names or ()):
                raise KeyError(f"Invalid mesh_dim_name {mesh_dim!r}: the mesh has {self.mesh_dim_names}")
            return (self.mesh_dim_names or ()).index(mesh_dim)
        if not -self.ndim <= mesh_dim < self.ndim:
            raise IndexError(f"DeviceMesh.{call}: mesh_dim={mesh_dim} is not one of the {self.ndim} dimensions")
        return mesh_dim % self.ndim

    # -- parts ----------------------------------------------------------------------------------
    def __getitem__(self, mesh_dim_names: str | tuple[str, ...]) -> DeviceMesh:
        """The part along some dimensions, in the mesh's order, in which this rank is."""
        names = (mesh_dim_names,) if isinstance(mesh_dim_names, str) else tuple(mesh_dim_names)
        if len(names) == 1 and names[0] in self._flattened:
            return self._flattened[names[0]]
        dims = [self._dimension("__getitem__", name) for name in names]
        if dims != sorted(set(dims)):
            raise KeyError(f"Invalid mesh_dim_names {names}: give each once, in the order of {self.mesh_dim_names}")
        if len(dims) == self.ndim:
            return self
        place = self._place or (0,) * self.ndim
        part = self._ranks[tuple(slice(None) if d in dims else place[d] for d in range(self.ndim))]
        made = [self._groups[d] for d in dims] if self._place is not None else []
        return DeviceMesh(self.device_type, part, mesh_dim_names=names, _groups=made)

    def _flatten(self, mesh_dim_name: str | None = None, backend_override: str | None = None) -> DeviceMesh:
        """The same ranks along one dimension, which the mesh knows by its name from then on; every rank calls it."""
        name = mesh_dim_name or "_".join(self.mesh_dim_names or ())
        if not name or name in (self.mesh_dim_names or ()):
            raise ValueError(f"DeviceMesh._flatten: mesh_dim_name needs a new name, got {mesh_dim_name!r}")
        if name not in self._flattened:
            backends: dict[Dimension, str] | None = {0: backend_override} if backend_override else None
            flat = self._ranks.reshape(-1)
            self._flattened[name] = DeviceMesh(
                self.device_type, flat, mesh_dim_names=(name,), backend_override=backends
            )
        return self._flattened[name]

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, DeviceMesh) and self.device_type == other.device_type
            and self.mesh_dim_names == other.mesh_dim_names and np.array_equal(self._ranks, other._ranks)
        )  # fmt: skip

    def __hash__(self) -> int:
        return hash((self.device_type, self.mesh_dim_names, self._ranks.shape, self._ranks.tobytes()))

    def __repr__(self) -> str:
        names = self.mesh_dim_names or tuple(map(str, range(self.ndim)))
        sizes = ", ".join(f"{name}={n}" for name, n in zip(names, self.shape, strict=True))
        return f"DeviceMesh(({sizes}), {self.device_type!r})"

    def __enter__(self) -> DeviceMesh:
        _current.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.pop()


_current: list[DeviceMesh] = []


def current_mesh() -> DeviceMesh | None:
    """The mesh of the innermost ``with`` block around this."""
    return _current[-1] if _current else None


def init_device_mesh(
    device_type: str, mesh_shape: Sequence[int], *, mesh_dim_names: Sequence[str] | None = None,
    backend_override: Mapping[Dimension, str] | None = None,
) -> DeviceMesh:  # fmt: skip
    """A mesh of the first ranks of the job, in rows; where this process takes part in none, it does from now on.

    RuntimeError where there are fewer ranks than the shape needs, or where names are not one for each dimension.

    >>> init_device_mesh("cpu:0", (1,))
    Traceback (most recent call last):
    ...
    RuntimeError: init_device_mesh: device_type is a type without an index, such as 'cpu', got 'cpu:0'
    """
    if not device_type.isidentifier():
        raise RuntimeError(
            f"init_device_mesh: device_type is a type without an index, such as 'cpu', got {device_type!r}"
        )
    if not groups.is_initialized():
        groups.init_process_group()
    shape = tuple(int(n) for n in mesh_shape)
    size = int(np.prod(shape))
    if not shape or min(shape) < 1 or size > groups.get_world_size():
        there = groups.get_world_size()
        raise RuntimeError(f"init_device_mesh: a mesh of shape {shape} needs {size} ranks; there are {there}")
    ranks = np.arange(size).reshape(shape).tolist()
    return DeviceMesh(device_type, ranks, mesh_dim_names=mesh_dim_names, backend_override=backend_override)
