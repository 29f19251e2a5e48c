"""Parts of torch.utils.data that are torch's alone."""

from flambeau.compat.torch.utils.data.datapipes.datapipe import IterDataPipe, MapDataPipe, functional_datapipe

__all__ = ["IterDataPipe", "MapDataPipe", "functional_datapipe"]
