"""``python -m flambeau torch-wheel``: a wheel named torch, whose one package hands over to flambeau.

The format is the Binary distribution format of https://packaging.python.org, version 1.0. The wheel brings what
PyTorch's brings of others: packages import jinja2 or networkx that they do not require themselves, as torch is there.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from flambeau.compat import names
from flambeau.compat.namespace import PACKAGE, VERSION, counterpart, exists

_RELEASE = f"{VERSION}+flambeau"
_INFO = f"torch-{_RELEASE}.dist-info"
_METADATA = f"""\
Metadata-Version: 2.1
Name: torch
Version: {_RELEASE}
Summary: flambeau under the name torch, for packages that require torch
Requires-Python: >=3.11
Requires-Dist: flambeau
Requires-Dist: filelock
Requires-Dist: fsspec>=0.8.5
Requires-Dist: jinja2
Requires-Dist: networkx>=2.5.1
Requires-Dist: setuptools>=77.0.3
Requires-Dist: sympy>=1.13.3
Requires-Dist: typing-extensions>=4.10.0
Provides-Extra: opt-einsum
Requires-Dist: opt-einsum>=3.3; extra == "opt-einsum"
Provides-Extra: optree
Requires-Dist: optree>=0.13.0; extra == "optree"
Provides-Extra: pyyaml
Requires-Dist: pyyaml; extra == "pyyaml"

`import torch` gives flambeau: PyTorch's names and semantics on backends that are plugins. This is not PyTorch.
"""
_WHEEL = """\
Wheel-Version: 1.0
Generator: flambeau
Root-Is-Purelib: true
Tag: py3-none-any
"""
_WHEN = (1980, 1, 1, 0, 0, 0)  # the same input gives the same bytes


def build(out: str | Path = ".") -> Path:
    """Write the wheel into the folder ``out``, which is made when it is missing, and return its path."""
    target = Path(out) / f"torch-{_RELEASE}-py3-none-any.whl"
    target.parent.mkdir(parents=True, exist_ok=True)
    record = []
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, text in _files():
            data = text.encode()
            wheel.writestr(zipfile.ZipInfo(name, _WHEN), data, zipfile.ZIP_DEFLATED)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(data)}\n")
        record.append(f"{_INFO}/RECORD,,\n")
        wheel.writestr(zipfile.ZipInfo(f"{_INFO}/RECORD", _WHEN), "".join(record))
    return target


def _files() -> Iterator[tuple[str, str]]:
    yield "torch/__init__.py", (PACKAGE / "__init__.py").read_text(encoding="utf-8")
    yield "torch/py.typed", ""
    for module in sorted(names.modules()):
        if exists(module):
            path = module.replace(".", "/")
            name = "__init__.pyi" if names.is_package(module) else ""
            yield "/".join(part for part in ("torch", path, name) if part) + ("" if name else ".pyi"), _stub(module)
    yield f"{_INFO}/METADATA", _METADATA
    yield f"{_INFO}/WHEEL", _WHEEL
    yield f"{_INFO}/top_level.txt", "torch\n"
    yield f"{_INFO}/entry_points.txt", "[console_scripts]\ntorchrun = flambeau.distributed.launch:torchrun\n"


def _stub(module: str) -> str:
    """What an editor reads: where the names of a module come from."""
    own = counterpart(module)
    lines = [] if own is None else [f"from flambeau{'.' if module else ''}{module} import *\n"]
    for name, entry in names.entries(module).items():
        above, other = entry.home
        if entry.is_module:
            below = f"{module}.{name}" if module else name
            if exists(below):
                lines.append(f"from torch{'.' if module else ''}{module} import {name} as {name}\n")
        elif entry.home != (module, name) and exists(above) and (own is None or not hasattr(own, name)):
            lines.append(f"from torch{'.' if above else ''}{above} import {other} as {name}\n")
    return "".join(lines)
