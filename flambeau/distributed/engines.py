"""Which engine serves which type of device: what ``backend`` says in init_process_group."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Final

from flambeau.core import registry

#: The engines by the names that programs have for them; gloo is torch's for host memory.
_NAMES: Final = {"mpi": "mpi", "gloo": "mpi", "nccl": "nccl", "device": "nccl"}


class Backend(str):
    """The name of an engine, in small letters; ValueError where there is none of this name.

    >>> Backend("GLOO")
    'gloo'
    """

    UNDEFINED = "undefined"
    GLOO = "gloo"
    NCCL = "nccl"
    UCC = "ucc"
    MPI = "mpi"
    XCCL = "xccl"
    backend_list: Final = [UNDEFINED, GLOO, NCCL, XCCL, UCC, MPI]

    def __new__(cls, name: str) -> Backend:
        if not isinstance(name, str):
            raise ValueError(f"Backend constructor parameter must be string-ish, got {name!r}")
        return super().__new__(cls, name.lower())


class BackendConfig:
    """The engine of each type of device, of a text such as ``"mpi"`` or ``"cpu:mpi,cuda:nccl"``.

    ``gloo``, torch's engine for host memory, stands for ``mpi``, and ``device`` for the collectives of whatever
    device it is. ``mpi`` alone serves every device, staging where memory is not the host's; ``nccl`` alone serves
    ``cuda``.

    >>> BackendConfig("cpu:gloo,cuda:nccl").engines
    {'cpu': 'mpi', 'cuda': 'nccl'}
    """

    def __init__(self, backend: str):
        self._text = backend = str(backend).lower()
        self.engines: dict[str, str] = {}
        if ":" not in backend:
            self.engines = {"cuda": "nccl"} if backend == "nccl" else {"cpu": _engine(backend), "": _engine(backend)}
            return
        for pair in backend.split(","):
            kind, _, name = (p.strip() for p in pair.partition(":"))
            if not kind or not name or kind in self.engines:
                raise ValueError(
                    f"Invalid device/backend string: {backend!r}; it is such as 'cpu:mpi,cuda:nccl', each device once"
                )
            self.engines[kind] = _engine(name)

    @property
    def device_backend_map(self) -> dict[str, str]:
        """The engine of each type of device."""
        return {kind: name for kind, name in self.engines.items() if kind}

    def get_device_backend_map(self) -> dict[str, str]:
        """The engine of each type of device."""
        return self.device_backend_map

    def __repr__(self) -> str:
        return ",".join(f"{kind}:{name}" for kind, name in self.device_backend_map.items())


def _engine(name: str) -> str:
    if name not in _NAMES:
        raise ValueError(f"there is no engine {name!r} for collectives; there are {', '.join(_NAMES)}")
    return _NAMES[name]


def chosen(kinds: list[str]) -> BackendConfig:
    """The engines where nothing is said, of the types of device that the ranks use: their own if all have the same."""
    found = BackendConfig("mpi")
    if len(set(kinds)) == 1 and kinds[0] != "cpu" and _communicates(kinds[0]):
        found.engines[kinds[0]] = "nccl"
    return found


def is_mpi_available() -> bool:
    """Whether mpi4py is installed."""
    return find_spec("mpi4py") is not None


def is_nccl_available() -> bool:
    """Whether CUDA's devices have collectives of their own here."""
    return _communicates("cuda")


def _communicates(kind: str) -> bool:
    """Whether a type of device has collectives of its own that work."""
    try:
        return registry.get_backend(kind).lacks_collectives() is None
    except Exception:  # a plugin that is not there, or does not work
        return False


def is_gloo_available() -> bool:
    """Whether host tensors have collectives: "gloo" is accepted as a name of MPI."""
    return is_mpi_available()


def is_ucc_available() -> bool:
    """False: there is no UCC here."""
    return False


def is_xccl_available() -> bool:
    """False: there is no XCCL here."""
    return False


def is_backend_available(backend: str) -> bool:
    """Whether an engine can be used.

    >>> fb.distributed.is_backend_available("ucc")
    False
    """
    ask = {"mpi": is_mpi_available, "gloo": is_mpi_available, "nccl": is_nccl_available}.get(str(backend).lower())
    return ask is not None and ask()


def get_default_backend_for_device(device: Any) -> str:
    """The name of the engine for a device, or a type of device.

    >>> fb.distributed.get_default_backend_for_device("cpu")
    'mpi'
    """
    kind = str(getattr(device, "type", device)).partition(":")[0]
    return "nccl" if kind != "cpu" and _communicates(kind) else "mpi"
