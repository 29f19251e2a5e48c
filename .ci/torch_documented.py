"""Writes flambeau/compat/torch/documented.txt: the names that the pages of PyTorch's documentation describe.

    python .ci/torch_documented.py DOCS

DOCS is ``docs/source`` of a checkout of pytorch. Taken are the names of the directives, and where a directive asks for
members, those that Sphinx would show of the installed torch. Names that the installed torch has not are left out, so
that the pages may be somewhat newer or older than it. A line is ``module: name Class.member ...``, without ``torch.``.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
import types
import warnings
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

TARGET = Path(__file__).parent.parent / "flambeau" / "compat" / "torch" / "documented.txt"
DIRECTIVE = re.compile(r"^( *)(?:\.\.|```\{) *(?:py:)?([a-z]+)(?:\}|::) *([^\n]*)$")
OPTION = re.compile(r"^ *:([a-z-]+): *([^\n]*)$")
NAME = re.compile(r"^~?([A-Za-z_][\w.]*)")
LONE = re.compile(r"^[A-Za-z_][\w.]*$")
OBJECTS = ("function", "class", "method", "attribute", "data", "exception", "decorator", "property")
IDENTITY_FREE = (bool, int, float, str, bytes, type(None), tuple, list, dict)


class Directive(NamedTuple):
    """A directive of a page, with its options and the lines below it."""

    kind: str
    argument: str
    options: dict[str, str]
    body: list[str]


def directives(text: str) -> Iterator[Directive]:
    """Every directive, also one inside another."""
    lines = text.splitlines()
    for i, line in enumerate(lines):
        found = DIRECTIVE.match(line)
        if not found:
            continue
        indent = len(found[1])
        options, body = {}, []
        for below in lines[i + 1 :]:
            listed = found[2] == "autosummary" and LONE.match(below)  # translations lose the indentation
            if below.strip() and len(below) - len(below.lstrip()) <= indent and not listed:
                break
            option = OPTION.match(below)
            if option and not body:
                options[option[1]] = option[2]
            elif below.strip():
                body.append(below.strip())
        yield Directive(found[2], found[3].strip(), options, body)


def resolve(full: str) -> tuple[str, str, Any] | None:
    """The module, the name in it and the object of a dotted name; None where torch has none."""
    parts = full.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:cut]))
        except Exception:  # a module may fail in any way without what it is made for
            continue
        try:
            for name in parts[cut:]:
                value = getattr(value, name)
        except AttributeError:
            return None
        except Exception:  # an attribute that needs a device: the name is there
            value = None
        return ".".join(parts[:cut]), ".".join(parts[cut:]), value
    return None


def members(value: Any, options: dict[str, str]) -> Iterator[str]:
    """The members of a class or module that Sphinx shows for these options."""
    chosen = [name.strip() for name in options.get("members", "").split(",") if name.strip()]
    left_out = {name.strip() for name in options.get("exclude-members", "").split(",")}
    listed = None
    if isinstance(value, types.ModuleType):
        listed = getattr(value, "__all__", None)
        found = [n for n in dir(value) if getattr(getattr(value, n), "__module__", "") == value.__name__]
        names = chosen or listed or found
    else:
        names = chosen or list(dir(value) if "inherited-members" in options else vars(value))
    for name in names:
        if name.startswith("_") and name not in (listed or chosen) or name in left_out:
            continue
        member = inspect.getattr_static(value, name, None)
        documented = member is not None and inspect.getdoc(getattr(value, name, None))
        if isinstance(member, (types.ModuleType, *IDENTITY_FREE)) or not member:
            continue
        if documented or "undoc-members" in options:
            yield name


class Names:
    """The names found so far, by module."""

    def __init__(self) -> None:
        self.found: dict[str, set[str]] = defaultdict(set)

    def add(self, full: str, options: dict[str, str] | None = None) -> bool:
        place = resolve(full)
        if place is None:
            return False
        module, name, value = place
        if name and not name.startswith("__"):
            self.found[module].add(name)
        if options is not None and "members" in options and isinstance(value, (type, types.ModuleType)):
            for member in members(value, options):
                below = getattr(value, member, None)
                nested = isinstance(value, types.ModuleType) and isinstance(below, type)
                self.add(f"{full}.{member}", options if nested else None)
        return True

    def page(self, text: str) -> None:
        current = owner = "torch"
        for kind, argument, options, body in directives(text):
            bare = kind.removeprefix("auto")
            if kind in ("currentmodule", "module", "automodule"):
                current = argument
                if "members" in options:
                    self.add(argument, options)
            elif kind == "autosummary":
                for line in body:
                    entry = NAME.match(line)
                    if entry:
                        self.entry(current, entry[1], {"members": ""})
            elif bare in OBJECTS:
                entry = NAME.match(argument)
                found = entry and self.entry(current, entry[1], options, owner)
                owner = found or owner if bare in ("class", "exception") else owner

    def entry(self, current: str, name: str, options: dict[str, str], owner: str = "torch") -> str:
        inner = name.removeprefix("torch.")
        tried = [f"torch.{inner}"] if inner != name else [f"{current}.{name}", f"torch.{name}", f"{owner}.{name}"]
        for full in tried:
            if self.add(full, options):
                return full
        print(f"torch has not: {name} (in {current})", file=sys.stderr)
        return ""


def main(docs: str) -> None:
    warnings.simplefilter("ignore")
    import torch

    names = Names()
    for page in sorted(p for p in Path(docs).rglob("*") if p.suffix in (".md", ".rst")):
        names.page(page.read_text(encoding="utf-8"))
    lines = []
    for module, found in sorted(names.found.items()):
        short = module.removeprefix("torch").removeprefix(".")
        lines.append(f"{short}: {' '.join(sorted(found))}\n")
    TARGET.write_text(f"# torch {torch.__version__.split('+')[0]}, by .ci/torch_documented.py\n" + "".join(lines))
    print(f"{TARGET}: {len(lines)} modules, {sum(map(len, names.found.values()))} names")


if __name__ == "__main__":
    main(sys.argv[1])
