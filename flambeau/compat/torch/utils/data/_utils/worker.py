"""What a worker of a DataLoader knows of itself."""

from flambeau.utils.data import WorkerInfo, get_worker_info

__all__ = ["WorkerInfo", "get_worker_info"]
