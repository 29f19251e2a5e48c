"""torch's public modules and names, from the table ``torch/names.txt`` that ``.ci/torch_names.py`` writes.

The table says what torch has and which names are one object; it holds no object. Names here are without ``torch.``:
"nn.modules.conv", and "" for torch itself.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

FOLDER: Final = Path(__file__).parent / "torch"
#: Modules of torch whose private names are flambeau's at the same place.
OPEN: Final = frozenset({
    "fx.graph_module", "fx.node", "nn.modules.module", "nn.modules.utils", "types", "utils._pytree",
    "utils._python_dispatch", "utils.tensorboard._convert_np", "utils.tensorboard._embedding",
    "utils.tensorboard._pytorch_graph", "utils.tensorboard._utils",
})  # fmt: skip
Place = tuple[str, str]


class Entry(NamedTuple):
    """A name of one module: where the object is also found, whether it is a module below, whether in ``__all__``."""

    home: Place
    is_module: bool
    listed: bool


@cache
def _lines() -> dict[str, str]:
    rows = (FOLDER / "names.txt").read_text(encoding="utf-8").splitlines()
    return {module: words for module, _, words in (row.partition(":") for row in rows[1:])}


@cache
def modules() -> frozenset[str]:
    """Every public module of torch."""
    return frozenset(_lines())


@cache
def entries(module: str) -> dict[str, Entry]:
    """The names of one module; none for a module that is not in the table."""
    found = {}
    for word in _lines().get(module, "").split():
        text = word.removeprefix("*")
        name, at, home = text.partition("@")
        bare = name.removesuffix("/")
        above, _, last = home.rpartition(".")
        place = (module, bare) if not at else (home, bare) if home in modules() else (above, last)
        found[bare] = Entry(place, name.endswith("/"), word.startswith("*"))
    return found


@cache
def _by_home() -> dict[Place, list[Place]]:
    places: dict[Place, list[Place]] = defaultdict(list)
    for module, words in _lines().items():
        if "@" in words:
            for name, entry in entries(module).items():
                if entry.home != (module, name):
                    places[entry.home].append((module, name))
    return places


def places(module: str, name: str) -> list[Place]:
    """Where else torch has the object called ``name`` in ``module``, its home first."""
    entry = entries(module).get(name)
    if entry is None:
        return []
    found = [entry.home, *_by_home().get(entry.home, ())]
    return [place for place in found if place != (module, name)]


@cache
def documented() -> dict[str, tuple[str, ...]]:
    """The names that torch's documentation describes, by module, members of classes as ``Class.member``.

    They stand in ``torch/documented.txt``, which ``.ci/torch_documented.py`` writes.
    """
    rows = (FOLDER / "documented.txt").read_text(encoding="utf-8").splitlines()
    return {module: tuple(words.split()) for module, _, words in (row.partition(":") for row in rows[1:])}


@cache
def habits() -> frozenset[str]:
    """The modules for which a file of ours stands in ``flambeau/compat/torch``."""
    found = set()
    for path in FOLDER.rglob("*.py"):
        parts = path.relative_to(FOLDER).with_suffix("").parts
        found.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return frozenset(found - {""})


def is_package(module: str) -> bool:
    """Whether torch has modules below this one."""
    return any(other.startswith(f"{module}." if module else "") for other in modules() | habits() if other)
