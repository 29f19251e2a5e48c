"""Loading data: datasets, samplers and the DataLoader."""

# isort: off
from flambeau.core.blame import check_constructors as _check_constructors
from flambeau.core.blame import explain_methods as _explain_methods
from flambeau.utils.data.collate import default_collate, default_convert
from flambeau.utils.data.datapipes.datapipe import (
    DataChunk, DFIterDataPipe, IterDataPipe, MapDataPipe, functional_datapipe,
)  # fmt: skip
from flambeau.utils.data.datapipes.typing import (
    argument_validation, guaranteed_datapipes_determinism, non_deterministic, runtime_validation,
    runtime_validation_disabled,
)  # fmt: skip
from flambeau.utils.data.dataset import (
    ChainDataset, ConcatDataset, Dataset, IterableDataset, StackDataset, Subset, TensorDataset, random_split,
)  # fmt: skip
from flambeau.utils.data.loader import DataLoader
from flambeau.utils.data.loader import _DatasetKind as _DatasetKind
from flambeau.utils.data.sampler import (
    BatchSampler, DistributedSampler, RandomSampler, Sampler, SequentialSampler, SubsetRandomSampler,
    WeightedRandomSampler,
)  # fmt: skip
from flambeau.utils.data.shipped import digits
from flambeau.utils.data.worker import WorkerInfo, get_worker_info

__all__ = [
    "BatchSampler",
    "ChainDataset",
    "ConcatDataset",
    "DFIterDataPipe",
    "DataChunk",
    "DataLoader",
    "Dataset",
    "DistributedSampler",
    "IterDataPipe",
    "IterableDataset",
    "MapDataPipe",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "StackDataset",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "WeightedRandomSampler",
    "WorkerInfo",
    "argument_validation",
    "default_collate",
    "default_convert",
    "digits",
    "functional_datapipe",
    "get_worker_info",
    "guaranteed_datapipes_determinism",
    "non_deterministic",
    "random_split",
    "runtime_validation",
    "runtime_validation_disabled",
]  # fmt: skip

_check_constructors(*[v for n, v in list(globals().items()) if n in __all__ and isinstance(v, type)])
_explain_methods(DataLoader)
