"""A module that runs a graph."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flambeau.core.tensor import Tensor
from flambeau.fx.graph import Graph
from flambeau.fx.interpreter import Interpreter
from flambeau.fx.source import PythonCode
from flambeau.nn import Module
from flambeau.utils.serialization import save

__all__ = ["GraphModule"]

_USER_PRESERVED_ATTRIBUTES_KEY = "_user_preserved_attributes"


def _copy_attr(from_module: Module, to_module: Module, target: str) -> None:
    """Give a module the attribute at a path of another, with empty modules on the way."""
    *path, last = target.split(".")
    for part in path:
        from_module = getattr(from_module, part)
        if not hasattr(to_module, part):
            setattr(to_module, part, Module())
        to_module = getattr(to_module, part)
    _assign(to_module, last, getattr(from_module, last))


def _assign(module: Module, name: str, value: Any) -> None:
    if isinstance(value, Tensor) and not getattr(value, "_is_parameter", False):
        module.register_buffer(name, value)
    else:
        setattr(module, name, value)


class _CodeOnlyModule(Module):
    """The attributes of a module without its class."""

    def __init__(self, body: dict[str, Any]):
        super().__init__()
        self.__dict__ = body


class GraphModule(Module):
    """A module whose forward runs a :class:`Graph` with the parameters and submodules that it names.

    ``root`` is the module that they come from, or a dict of them by path. Call :meth:`recompile` after a change of the
    graph; the program as text is :attr:`code`.
    """

    def __init__(self, root: Module | Mapping[str, Any], graph: Graph, class_name: str = "GraphModule"):
        super().__init__()
        self._class_name = class_name
        targets = [str(n.target) for n in graph.nodes if n.op in ("get_attr", "call_module")]
        if isinstance(root, Module):
            self.training = root.training
            for target in targets:
                _copy_attr(root, self, target)
        else:
            for target in sorted(targets, key=lambda t: t.count(".")):
                if target not in root:
                    raise RuntimeError(f"GraphModule: the graph names {target!r}, which the root has not")
                *path, last = target.split(".")
                home: Module = self
                for part in path:
                    if not hasattr(home, part):
                        setattr(home, part, Module())
                    home = getattr(home, part)
                _assign(home, last, root[target])
        self.meta: dict[str, Any] = {}
        self.graph = graph

    @property
    def graph(self) -> Graph:
        """The program; setting it recompiles."""
        found: Graph = self.__dict__["_graph"]
        return found

    @graph.setter
    def graph(self, g: Graph) -> None:
        self.__dict__["_graph"] = g
        g.owning_module = self
        self.recompile()

    def recompile(self) -> PythonCode:
        """Take up a changed graph; returns it as Python."""
        return self.graph.python_code()

    @property
    def code(self) -> str:
        """The program as Python, to be read."""
        return self.graph.python_code().src

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # Any: of the program
        """Run the graph."""
        if kwargs:
            args = (*args, *self._by_name(len(args), kwargs))
        return Interpreter(self).run(*args)

    def _by_name(self, given: int, kwargs: dict[str, Any]) -> list[Any]:
        """The inputs after the positional ones, in order."""
        found = []
        for node in [n for n in self.graph.nodes if n.op == "placeholder"][given:]:
            name = str(node.target)
            if name in kwargs:
                found.append(kwargs.pop(name))
            elif node.args:
                found.append(node.args[0])
            else:
                raise TypeError(f"{self._class_name}.forward: argument {name!r} is missing")
        if kwargs:
            raise TypeError(f"{self._class_name}.forward: unknown arguments {', '.join(kwargs)}")
        return found

    def print_readable(self, print_output: bool = True, **options: Any) -> str:  # Any: how torch would print it
        """The program as a class, with those of the submodules that are graphs; printed unless told otherwise."""
        body = self.code.strip("\n ").replace(":\n", ":\n    # No stacktrace found for following nodes\n", 1)
        lines = [f"class {self._class_name}(flambeau.nn.Module):", *(f"    {line}" for line in body.splitlines())]
        for child in self.children():
            if isinstance(child, GraphModule):
                inner = child.print_readable(print_output=False)
                lines += ["", *(f"    {line}".rstrip() for line in inner.rstrip().splitlines())]
        text = "\n".join(lines) + "\n"
        if print_output:
            print(text)
        return text

    def to_folder(self, folder: str | os.PathLike[str], module_name: str = "FxModule") -> None:
        """Write a package: a class of this name with the program as its forward, its submodules and parameters.

        The folder's name must be that of a package to be imported. Submodules of other classes than those of
        ``flambeau.nn`` are imported from where they are.
        """
        home = Path(folder)
        home.mkdir(parents=True, exist_ok=True)
        children = dict(self.named_children())
        save({"state": self.state_dict(), "children": children}, home / "parts.fb")
        set_parts = [f"        self.{n} = parts['children']['{n}']" for n in children]
        for n, p in self.named_parameters(recurse=False):
            set_parts.append(
                f"        self.{n} = flambeau.nn.Parameter(flambeau.empty({list(p.shape)}, dtype={p.dtype}))"
            )
        for n, t in self.named_buffers(recurse=False):
            set_parts.append(f"        self.register_buffer('{n}', flambeau.empty({list(t.shape)}, dtype={t.dtype}))")
        program = "\n".join(f"    {line}".rstrip() for line in self.code.strip("\n ").splitlines())
        named = self.graph.python_code().globals
        imports = "".join(f"from {o.__module__} import {o.__name__} as {n}\n" for n, o in sorted(named.items())
                          if n not in ("flambeau", "device", "inf", "nan"))  # fmt: skip
        text = (
            f"from pathlib import Path\n\nimport flambeau\n{imports}from flambeau import device, inf, nan\n\n\n"
            f"class {module_name}(flambeau.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
            "        parts = flambeau.load(Path(__file__).parent / 'parts.fb')\n"
            + "".join(f"{line}\n" for line in set_parts)
            + f"        self.load_state_dict(parts['state'])\n\n{program}\n"
        )
        (home / "module.py").write_text(text, encoding="utf-8")
        (home / "__init__.py").write_text(f"from .module import {module_name} as {module_name}\n", encoding="utf-8")

    def add_submodule(self, target: str, m: Module) -> bool:
        """Put a module at a path; whether it could be put there."""
        *path, last = target.split(".")
        home: Any = self
        for part in path:
            if not hasattr(home, part):
                setattr(home, part, Module())
            home = getattr(home, part)
            if not isinstance(home, Module):
                return False
        home.add_module(last, m)
        return True

    def delete_submodule(self, target: str) -> bool:
        """Take away the module at a path; whether there was one."""
        *path, last = target.split(".")
        home: Any = self
        for part in path:
            home = getattr(home, part, None)
        if not isinstance(home, Module) or not isinstance(getattr(home, last, None), Module):
            return False
        delattr(home, last)
        return True

    def delete_all_unused_submodules(self) -> None:
        """Take away the modules that the graph does not name."""
        used: set[str] = set()
        present = {name for name, _ in self.named_modules(remove_duplicate=False)}
        for node in self.graph.nodes:
            if node.op in ("get_attr", "call_module"):
                parts = str(node.target).split(".")
                used |= {".".join(parts[: i + 1]) for i in range(len(parts))}
                if node.op == "call_module" and str(node.target) in present:
                    inner = self.get_submodule(str(node.target))
                    used |= {f"{node.target}.{name}" for name, _ in inner.named_modules() if name}
        for name in [n for n, _ in self.named_modules() if n and n not in used]:
            self.delete_submodule(name)

    def __deepcopy__(self, memo: dict[int, Any]) -> GraphModule:
        inner = _CodeOnlyModule({n: v for n, v in self.__dict__.items() if n != "_graph"})
        copied = GraphModule.__new__(type(self))
        copied.__dict__ = copy.deepcopy(inner.__dict__, memo)
        copied.graph = copy.deepcopy(self.graph, memo)
        return copied

    def __str__(self) -> str:
        reminder = "# To see more debug info, please use `graph_module.print_readable()`"
        return "\n".join([super().__str__(), self.code, reminder])

    def _get_name(self) -> str:
        return self._class_name
