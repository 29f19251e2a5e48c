"""The iterators of a DataLoader, by the names that packages ask for."""

from flambeau.utils.data import DataLoader, default_collate, default_convert, get_worker_info
from flambeau.utils.data.loader import _DatasetKind as _DatasetKind
from flambeau.utils.data.loader import _Epoch as _BaseDataLoaderIter
from flambeau.utils.data.loader import _InThisProcess as _SingleProcessDataLoaderIter
from flambeau.utils.data.pool import _Run as _MultiProcessingDataLoaderIter

__all__ = [
    "DataLoader", "_BaseDataLoaderIter", "_MultiProcessingDataLoaderIter", "_SingleProcessDataLoaderIter",
    "default_collate", "default_convert", "get_worker_info",
]  # fmt: skip


class _InfiniteConstantSampler:
    """None for ever: the sampler of a dataset that has an order of its own."""

    def __iter__(self) -> "_InfiniteConstantSampler":
        return self

    def __next__(self) -> None:
        return None
