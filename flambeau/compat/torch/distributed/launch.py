"""``python -m torch.distributed.launch``: the older name of the launcher."""

from __future__ import annotations

from flambeau.compat.torch.distributed.run import main

__all__ = ["main"]

if __name__ == "__main__":
    main()
