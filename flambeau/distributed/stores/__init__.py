"""Stores: small tables that the processes of a job share to find each other.

A value is bytes; a text is stored as UTF-8. The names and what they do are torch.distributed's.
"""

from __future__ import annotations

from flambeau.distributed.stores.base import Store
from flambeau.distributed.stores.file import FileStore
from flambeau.distributed.stores.memory import HashStore, PrefixStore
from flambeau.distributed.stores.tcp import TCPStore

__all__ = ["FileStore", "HashStore", "PrefixStore", "Store", "TCPStore"]
