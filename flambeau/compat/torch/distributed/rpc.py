"""Calls of functions in other processes, as in a build without them."""

from __future__ import annotations

from flambeau.compat.unchanged import lacking, no

__all__ = ["init_rpc", "is_available", "remote", "rpc_async", "rpc_sync", "shutdown"]

_WHY = "flambeau has no communication between processes yet; torch.distributed.rpc.is_available() is False"

is_available = no
init_rpc = lacking("distributed.rpc.init_rpc", _WHY)
remote = lacking("distributed.rpc.remote", _WHY)
rpc_async = lacking("distributed.rpc.rpc_async", _WHY)
rpc_sync = lacking("distributed.rpc.rpc_sync", _WHY)
shutdown = lacking("distributed.rpc.shutdown", _WHY)
