"""Small programs, a change between two calls of ``step``, and what is said of it; None: nothing."""

from __future__ import annotations

SCALED = "def step(x):\n return x * scale\n"
CFG = "class Cfg:\n def __init__(self): self.scale = 2.0; self.other = 1\n"
NET = (
    "net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Dropout(0.5))\n"
    "def step(x):\n return net(x)\n"
)  # fmt: skip

STATE: dict[str, tuple[str, str, str | None]] = {
    "float": ("scale = 2.0\n" + SCALED, "scale = 3.0", "the global 'scale' of prog.py was 2.0 and is 3.0"),
    "equal float": ("scale = 2.5\n" + SCALED, "scale = float('2.5')", None),
    "type of number": ("scale = 2\n" + SCALED, "scale = 2.0", "the global 'scale' of prog.py was 2 and is 2.0"),
    "bool for int": ("scale = 1\n" + SCALED, "scale = True", "the global 'scale' of prog.py was 1 and is True"),
    "nan": ("scale = float('nan')\n" + SCALED, "scale = float('nan')", None),
    "zero": ("scale = 0.0\n" + SCALED, "scale = -0.0", "the global 'scale' of prog.py was 0.0 and is -0.0"),
    "complex": ("scale = 1j\n" + SCALED, "scale = 2j", "the global 'scale' of prog.py was 1j and is 2j"),
    "none": (
        "m = None\ndef step(x):\n return x if m is None else m", "m = 1",
        "the global 'm' of prog.py was None and is 1",
    ),
    "string": (
        "m = 'a'\ndef step(x):\n return x if m == 'a' else 0", "m = 'b'",
        "the global 'm' of prog.py was 'a' and is 'b'",
    ),
    "bytes": ("m = b'a'\ndef step(x):\n return m", "m = b'b'", "the global 'm' of prog.py was b'a' and is b'b'"),
    "range": (
        "m = range(3)\ndef step(x):\n return m", "m = range(4)",
        "the global 'm' of prog.py was range(0, 3) and is range(0, 4)",
    ),
    "equal range": ("m = range(3)\ndef step(x):\n return m", "m = range(3)", None),
    "slice": (
        "m = slice(3)\ndef step(x):\n return m", "m = slice(4)",
        "the global 'm' of prog.py was slice(None, 3, None) and is slice(None, 4, None)",
    ),
    "dtype": (
        "m = fb.float32\ndef step(x):\n return m", "m = fb.float64",
        "the global 'm' of prog.py was flambeau.float32 and is flambeau.float64",
    ),
    "device": (
        "m = fb.device('cpu')\ndef step(x):\n return m", "m = fb.device('meta')",
        "the global 'm' of prog.py was cpu and is meta",
    ),
    "equal device": ("m = fb.device('cpu')\ndef step(x):\n return m", "m = fb.device('cpu')", None),
    "size": (
        "m = fb.ones(2, 3).shape\ndef step(x):\n return m", "m = fb.ones(2, 4).shape",
        "the global 'm[1]' of prog.py was 3 and is 4",
    ),
    "enum": (
        "class E(enum.Enum):\n A = 1; B = 2\nm = E.A\ndef step(x):\n return m", "m = E.B",
        "the global 'm' of prog.py was E.A and is E.B",
    ),
    "unread global": ("scale = 2.0; other = 1\n" + SCALED, "other = 2", None),
    "deleted": ("scale = 2.0\n" + SCALED, "del scale", "the global 'scale' of prog.py is gone"),
    "builtin hidden": (
        "def step(x):\n return len([x])", "len = sum", "the global 'len' of prog.py is new: the function sum",
    ),
    "attribute of the name of a global": (
        CFG + "cfg = Cfg(); scale = 1; f = functools.partial\ndef step(x):\n return cfg.scale", "scale = 2", None,
    ),
    "name of a global and an attribute": (
        CFG + "cfg = Cfg(); scale = 1\ndef step(x):\n return scale * cfg.scale", "scale = 2",
        "the global 'scale' of prog.py was 1 and is 2",
    ),
    "global in an inner class": (
        "scale = 1\ndef step(x):\n class C:\n  k = scale\n return C.k", "scale = 2",
        "the global 'scale' of prog.py was 1 and is 2",
    ),
    "global by its name": (
        "scale = 1\ndef step(x):\n return globals()['scale']", "scale = 2",
        "the global 'scale' of prog.py was 1 and is 2",
    ),
    "attribute of a module of the program's": (
        "cfg = types.ModuleType('cfg'); cfg.scale = 1\ndef step(x):\n return cfg.scale", "cfg.scale = 2",
        "the attribute 'cfg.scale' was 1 and is 2",
    ),
    "new and unread": ("def step(x):\n return x", "fresh = 1", None),
    "function": (
        "def f(x): return x\ndef step(x):\n return f(x)", "def f(x): return 1",
        "the global 'f' of prog.py was the function f and is another one",
    ),
    "another function": (
        "def f(x): return x\ndef g(x): return x\ndef step(x):\n return f(x)", "f = g",
        "the global 'f' of prog.py was the function f and is the function g",
    ),
    "class": (
        "class C: pass\ndef step(x):\n return C", "class D: pass\nC = D",
        "the global 'C' of prog.py was the class C and is the class D",
    ),
    "python module": (
        "def step(x):\n return math.sqrt(4)", "math = random",
        "the global 'math' of prog.py was the module math and is the module random",
    ),
    "tensor": (
        "t = fb.ones(2)\ndef step(x):\n return t", "t = fb.ones(2)",
        "the global 't' of prog.py was a Tensor and is another one",
    ),
    "values of a tensor": ("t = fb.ones(2)\ndef step(x):\n return t", "t.add_(1)", None),
    "called function": (
        "scale = 2.0\ndef f(x): return x * scale\ndef step(x):\n return f(x)", "scale = 3.0",
        "the global 'scale' of prog.py was 2.0 and is 3.0",
    ),
    "recursion": (
        "scale = 2\ndef f(n): return scale if n == 0 else f(n - 1)\ndef step(x):\n return f(5)", "scale = 3",
        "the global 'scale' of prog.py was 2 and is 3",
    ),
    "indirect call": (
        "scale = 2\ndef f(x): return x * scale\ntable = {'f': f}\ndef step(x):\n return table['f'](x)", "scale = 3",
        "the global 'scale' of prog.py was 2 and is 3",
    ),
    "by map": (
        "scale = 2\ndef f(x): return x * scale\ndef step(x):\n return list(map(f, [1, 2]))", "scale = 3",
        "the global 'scale' of prog.py was 2 and is 3",
    ),
    "lambda": ("scale = 2\nstep = lambda x: x * scale", "scale = 3", "the global 'scale' of prog.py was 2 and is 3"),
    "comprehension": (
        "scale = 2\ndef step(x):\n return [scale * i for i in range(2)]", "scale = 3",
        "the global 'scale' of prog.py was 2 and is 3",
    ),
    "generator expression": (
        "scale = 2\ndef step(x):\n return sum(scale * i for i in range(2))", "scale = 3",
        "the global 'scale' of prog.py was 2 and is 3",
    ),
    "generator inside": (
        "scale = 2\ndef g():\n yield scale\n yield 1\ndef step(x):\n return list(g())", "scale = 3",
        "the global 'scale' of prog.py was 2 and is 3",
    ),
    "coroutine": (
        "scale = 2\nasync def g(): return scale\ndef step(x):\n try: g().send(None)\n" " except StopIteration: pass",
        "scale = 3", "the global 'scale' of prog.py was 2 and is 3",
    ),
    "exception": (
        "scale = 2\ndef f(): raise ValueError(scale)\ndef step(x):\n try: f()\n except ValueError: return x",
        "scale = 3", "the global 'scale' of prog.py was 2 and is 3",
    ),
    "star import": (
        "from math import *\ndef step(x):\n return floor(pi)", "pi = 4",
        "the global 'pi' of prog.py was 3.141592653589793 and is 4",
    ),
    "closure": (
        "def make():\n k = 2\n def f(x): return x * k\n def put(v):\n  nonlocal k; k = v\n return f, put\n"
        "step, put = make()", "put(3)", "the closed-over 'k' of make.<locals>.f() was 2 and is 3",
    ),
    "closure over a list": (
        "def make(ks):\n return lambda x: x * ks[0]\nks = [1, 2.0]\nstep = make(ks)", "ks[0] = 5",
        "the closed-over 'ks[0]' of make.<locals>.<lambda>() was 1 and is 5",
    ),
    "inner function": (
        "def step(x):\n k = [x]\n def f(): return k[0] * scale\n return f()\nscale = 1", "scale = 2",
        "the global 'scale' of prog.py was 1 and is 2",
    ),
    "decorated": (
        "ks = [1]\ndef by(ks):\n def d(f):\n  @functools.wraps(f)\n  def w(x): return f(x) * ks[0]\n"
        "  return w\n return d\n@by(ks)\ndef step(x):\n return x", "ks[0] = 2",
        "the closed-over 'ks[0]' of step() was 1 and is 2",
    ),
    "default": (
        "def f(x, ks=[1]): return x * ks[0]\ndef step(x):\n return f(x)", "f.__defaults__[0][0] = 2",
        "the default '__defaults__[0][0]' of f() was 1 and is 2",
    ),
    "defaults": (
        "def f(x, k=1): return x * k\ndef step(x):\n return f(x)", "f.__defaults__ = (2,)",
        "the default '__defaults__[0]' of f() was 1 and is 2",
    ),
    "keyword default": (
        "def f(x, *, k=1): return x * k\ndef step(x):\n return f(x)", "f.__kwdefaults__['k'] = 2",
        'the default "__kwdefaults__[\'k\']" of f() was 1 and is 2',
    ),
    "list": ("ks = [1, 2]\ndef step(x):\n return ks", "ks[1] = 3", "the global 'ks[1]' of prog.py was 2 and is 3"),
    "equal list": ("ks = [1, 2.5, 'a', None]\ndef step(x):\n return ks", "ks = [1, 2.5, 'a', None]", None),
    "list of nan": (
        "ks = [1, float('nan')]\ndef step(x):\n return ks", "ks[0] = 1.0",
        "the global 'ks[0]' of prog.py was 1 and is 1.0",
    ),
    "appended": (
        "ks = [1, 2]\ndef step(x):\n return ks", "ks.append(3)",
        "the global 'ks' of prog.py had 2 elements and has 3",
    ),
    "tuple for list": (
        "ks = [1, 2]\ndef step(x):\n return ks", "ks = (1, 2)",
        "the global 'ks' of prog.py was a list and is a tuple",
    ),
    "nested list": (
        "ks = [1, [2, [3]]]\ndef step(x):\n return ks", "ks[1][1][0] = 4",
        "the global 'ks[1][1][0]' of prog.py was 3 and is 4",
    ),
    "list in itself": (
        "ks = [1]; ks.append(ks)\ndef step(x):\n return ks", "ks[0] = 4",
        "the global 'ks[0]' of prog.py was 1 and is 4",
    ),
    "list of tensors": (
        "ks = [fb.ones(1), fb.ones(1)]\ndef step(x):\n return ks", "ks[1] = fb.ones(1)",
        "the global 'ks[1]' of prog.py was a Tensor and is another one",
    ),
    "deque": (
        "ks = collections.deque([1, 2])\ndef step(x):\n return ks", "ks.appendleft(0)",
        "the global 'ks' of prog.py had 2 elements and has 3",
    ),
    "named tuple": (
        "P = collections.namedtuple('P', 'a b')\nks = P(1, 2)\ndef step(x):\n return ks.a", "ks = P(2, 2)",
        "the global 'ks[0]' of prog.py was 1 and is 2",
    ),
    "dict value": (
        "d = {'a': 1, 'b': 2}\ndef step(x):\n return d['a']", "d['a'] = 3",
        'the global "d[\'a\']" of prog.py was 1 and is 3',
    ),
    "dict key": (
        "d = {'a': 1}\ndef step(x):\n return d['a']", "d['c'] = 3", "the global 'd' of prog.py has the new key 'c'",
    ),
    "dict key lost": (
        "d = {'a': 1, 'b': [2]}\ndef step(x):\n return d['a']", "del d['b']",
        "the global 'd' of prog.py has lost the key 'b'",
    ),
    "dict order": (
        "d = {'a': 1, 'b': 2}\ndef step(x):\n return list(d)", "d['a'] = d.pop('a')",
        "the global 'd' of prog.py has its keys in another order",
    ),
    "nested dict": (
        "d = {'a': {'b': [1]}}\ndef step(x):\n return d", "d['a']['b'][0] = 2",
        'the global "d[\'a\'][\'b\'][0]" of prog.py was 1 and is 2',
    ),
    "default dict": (
        "d = collections.defaultdict(int, a=1)\ndef step(x):\n return d['a']", "d['a'] += 1",
        'the global "d[\'a\']" of prog.py was 1 and is 2',
    ),
    "set": (
        "s = {1, 2}\ndef step(x):\n return 1 in s", "s.remove(2); s.add(3)",
        "the global 's' of prog.py has other elements than before",
    ),
    "set grows": (
        "s = {1, 2}\ndef step(x):\n return 1 in s", "s.add(3)", "the global 's' of prog.py had 2 elements and has 3",
    ),
    "array of numpy's": (
        "a = np.ones(3)\ndef step(x):\n return a", "a[1] = 2",
        "the global 'a' of prog.py, a ndarray, has other values than before",
    ),
    "scalar of numpy's": (
        "a = np.float32(1)\ndef step(x):\n return a", "a = np.float64(1)",
        "the global 'a' of prog.py, a float64, has other values than before",
    ),
    "object": (
        CFG + "cfg = Cfg()\ndef step(x):\n return cfg.scale", "cfg.scale = 3.0",
        "the global 'cfg.scale' of prog.py was 2.0 and is 3.0",
    ),
    "object unread": (CFG + "cfg = Cfg()\ndef step(x):\n return cfg.scale", "cfg.other = 3; cfg.more = 1", None),
    "equal object": (CFG + "cfg = Cfg()\ndef step(x):\n return cfg.scale", "cfg = Cfg()", None),
    "attribute lost": (
        CFG + "cfg = Cfg()\ndef step(x):\n return cfg.scale", "del cfg.scale",
        "the global 'cfg.scale' of prog.py is gone",
    ),
    "attribute in another function": (
        CFG + "cfg = Cfg()\ndef f(c): return c.scale\ndef step(x):\n return f(cfg)", "cfg.scale = 3.0",
        "the global 'cfg.scale' of prog.py was 2.0 and is 3.0",
    ),
    "attribute by getattr": (
        CFG + "cfg = Cfg()\ndef step(x):\n return getattr(cfg, 'scale')", "cfg.scale = 3.0",
        "the global 'cfg.scale' of prog.py was 2.0 and is 3.0",
    ),
    "attribute asked for": (
        CFG + "cfg = Cfg()\ndef step(x):\n return hasattr(cfg, 'late')", "cfg.late = 1",
        "the global 'cfg.late' of prog.py is new: 1",
    ),
    "nested object": (
        CFG + "cfg = types.SimpleNamespace(inner=Cfg())\ndef step(x):\n return cfg.inner.scale",
        "cfg.inner.scale = 1", "the global 'cfg.inner.scale' of prog.py was 2.0 and is 1",
    ),
    "dataclass": (
        "@dataclasses.dataclass\nclass D:\n k: int = 1\nd = D()\ndef step(x):\n return d.k", "d.k = 2",
        "the global 'd.k' of prog.py was 1 and is 2",
    ),
    "dataclass replaced": (
        "@dataclasses.dataclass(frozen=True)\nclass D:\n k: int = 1\nd = D()\ndef step(x):\n return d.k",
        "d = dataclasses.replace(d, k=4)", "the global 'd.k' of prog.py was 1 and is 4",
    ),
    "slots": (
        "class S:\n __slots__ = ('k', 'n')\n def __init__(self): self.k = 1\ns = S()\ndef step(x):\n return s.k",
        "s.k = 2", "the global 's.k' of prog.py was 1 and is 2",
    ),
    "class attribute": (
        "class C:\n k = 1\nc = C()\ndef step(x):\n return c.k", "C.k = 2", "the class attribute 'C.k' was 1 and is 2",
    ),
    "inherited attribute": (
        "class B:\n k = 1\nclass C(B): pass\nc = C()\ndef step(x):\n return c.k", "B.k = 2",
        "the class attribute 'B.k' was 1 and is 2",
    ),
    "class attribute hidden": (
        "class C:\n k = 1\nc = C()\ndef step(x):\n return c.k", "c.k = 1", "the global 'c.k' of prog.py is new: 1",
    ),
    "class attribute of a class": (
        "class C:\n k = 1\ndef step(x):\n return C.k", "C.k = 2", "the class attribute 'C.k' was 1 and is 2",
    ),
    "method replaced": (
        "class C:\n def f(self): return 1\nc = C()\ndef step(x):\n return c.f()", "C.f = lambda self: 2",
        "the class attribute 'C.f' was the function f and is the function <lambda>",
    ),
    "property": (
        "class C:\n _k = 1\n @property\n def k(self): return self._k\nc = C()\ndef step(x):\n return c.k", "c._k = 2",
        "the global 'c._k' of prog.py is new: 2",
    ),
    "static method": (
        "ks = [1]\ndef make(ks):\n class C:\n  @staticmethod\n  def f(): return ks[0]\n return C\n"
        "C = make(ks)\ndef step(x):\n return C.f()", "ks[0] = 2",
        "the closed-over 'ks[0]' of make.<locals>.C.f() was 1 and is 2",
    ),
    "bound method": (
        CFG + "class T(Cfg):\n def step(self, x): return x * self.scale\nt = T(); step = t.step", "t.scale = 3.0",
        "'self.scale' of step() was 2.0 and is 3.0",
    ),
    "callable object": (
        CFG + "class T(Cfg):\n def __call__(self, x): return x * self.scale\nstep = T()", "step.scale = 3.0",
        "'T.scale' was 2.0 and is 3.0",
    ),
    "partial": (
        "def f(d, x): return x * d['k']\nd = {'k': 1}\nstep = functools.partial(f, d)", "d['k'] = 2",
        '"partial.args[0][\'k\']" was 1 and is 2',
    ),
    "partial in a global": (
        "def f(k, x): return x * k\ng = functools.partial(f, 1)\ndef step(x):\n return g(x)",
        "g = functools.partial(f, 2)", "the global 'g.args[0]' of prog.py was 1 and is 2",
    ),
    "cached function": (
        "k = 1\n@functools.lru_cache\ndef f(): return k\ndef step(x):\n return f()", "k = 2",
        "the global 'k' of prog.py was 1 and is 2",
    ),
}  # fmt: skip

MODULES: dict[str, tuple[str, str, str | None]] = {
    "train and eval": (NET, "net.eval()", "the global 'net.training' of prog.py was True and is False"),
    "there and back": (NET, "net.eval(); net.train()", None),
    "other module": (NET, "other = nn.Linear(1, 1).eval()", None),
    "module replaced": (
        NET, "net = nn.Sequential(nn.Linear(2, 2))",
        "the global 'net' of prog.py was a Sequential and is another one",
    ),
    "child replaced": (NET, "net[1] = nn.Tanh()", "the global 'net.1' of prog.py was a ReLU and is a Tanh"),
    "child added": (NET, "net.append(nn.Tanh())", "the global 'net' of prog.py has a new module '3'"),
    "child lost": (NET, "del net[2]", "the global 'net' of prog.py has lost the module '2'"),
    "parameter replaced": (
        NET, "net[0].weight = nn.Parameter(fb.ones(2, 2))",
        "the global 'net.0.weight' of prog.py was a Parameter and is another one",
    ),
    "parameter values": (NET, "with fb.no_grad(): net[0].weight.mul_(2)", None),
    "parameter gone": (NET, "net[0].bias = None", "the global 'net.0.bias' of prog.py was a Parameter and is None"),
    "same parameter": (NET, "net[0].weight = net[0].weight", None),
    "buffer": (
        "net = nn.BatchNorm1d(2)\ndef step(x):\n return net(x)\n", "net.running_mean = fb.ones(2)",
        "the global 'net.running_mean' of prog.py was a Tensor and is another one",
    ),
    "option": (NET, "net[2].p = 0.1", "the global 'net.2.p' of prog.py was 0.5 and is 0.1"),
    "forward hook": (
        NET, "net[0].register_forward_hook(lambda *a: None)",
        "the global 'net.0' of prog.py has other hooks than before (forward_hooks)",
    ),
    "hook removed": (
        NET + "h = net[0].register_forward_pre_hook(lambda *a: None)", "h.remove()",
        "the global 'net.0' of prog.py has other hooks than before (forward_pre_hooks)",
    ),
    "backward hook": (
        NET, "net.register_full_backward_hook(lambda *a: None)",
        "the global 'net' of prog.py has other hooks than before (backward_hooks)",
    ),
    "hook on every module": (
        NET, "h = nn.modules.module.register_module_forward_hook(lambda *a: None)",
        "the hooks on every module are others than before",
    ),
    "what a hook reads": (
        NET + "ks = [1]\nh = net[0].register_forward_hook(lambda m, a, o: o * ks[0])", "ks[0] = 2",
        "the global 'ks[0]' of prog.py was 1 and is 2",
    ),
    "parametrized": (
        NET, "nn.utils.parametrizations.weight_norm(net[0])",
        "the global 'net.0' of prog.py was of the class Linear and is of ParametrizedLinear",
    ),
    "forward of an object": (
        NET, "net[1].forward = lambda x: -x", "the global 'net.1.forward' of prog.py is new: the function <lambda>",
    ),
    "forward of an object replaced": (
        NET + "net[1].forward = lambda x: -x", "net[1].forward = fb.sin",
        "the global 'net.1.forward' of prog.py was the function <lambda> and is the function sin",
    ),
    "forward of an object gone": (
        NET + "net[1].forward = lambda x: -x", "del net[1].forward", "the global 'net.1.forward' of prog.py is gone",
    ),
    "what forward of an object reads": (
        NET + "ks = [1]\nnet[1].forward = lambda x: x * ks[0]", "ks[0] = 2",
        "the global 'ks[0]' of prog.py was 1 and is 2",
    ),
    "forward of a class": (
        "class N(nn.Module):\n def forward(self, x): return x\nnet = N()\ndef step(x):\n return net(x)",
        "N.forward = lambda self, x: -x",
        "the class attribute 'N.forward' was the function forward and is the function <lambda>",
    ),
    "call of a class": (
        "class N(nn.Module):\n def forward(self, x): return x\nnet = N()\ndef step(x):\n return net(x)",
        "N.__call__ = lambda self, x: -x",
        "the class attribute 'N.__call__' is new: the function <lambda>",
    ),
    "own module": (
        "class N(nn.Module):\n def __init__(self): super().__init__(); self.k = 1\n"
        " def forward(self, x): return x * self.k\nstep = N()", "step.k = 2", "'N.k' was 1 and is 2",
    ),
    "unread attribute of a module": (
        "class N(nn.Module):\n def __init__(self): super().__init__(); self.k = 1; self.epoch = 0\n"
        " def forward(self, x): return x * self.k\nstep = N()", "step.epoch = 2", None,
    ),
    "list of a module": (
        "class N(nn.Module):\n def __init__(self): super().__init__(); self.ks = [1, 2]\n"
        " def forward(self, x): return x * self.ks[0]\nstep = nn.Sequential(N())", "step[0].ks[0] = 3",
        "'Sequential.0.ks[0]' was 1 and is 3",
    ),
    "option of an inherited layer": (
        "class N(nn.Dropout):\n pass\nstep = N(0.5)", "step.p = 0.25", "'N.p' was 0.5 and is 0.25",
    ),
    "module only in a registry": (
        "class N(nn.Module):\n def forward(self, x): return x if self.training else -x\nr = {}\n"
        "n = N(); key = object(); r[key] = n\ndef step(x):\n return r[key](x)", "n.eval()",
        "the global 'r[...].training' of prog.py was True and is False",
    ),
    "optimizer's flag": (
        NET + "opt = fb.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)\ndef step(x):\n"
        " net(x).sum().backward(); opt.step(); opt.zero_grad()", "opt.param_groups[0]['nesterov'] = True",
        'the global "opt.param_groups[0][\'nesterov\']" of prog.py was False and is True',
    ),
    "optimizer's rate": (
        NET + "opt = fb.optim.Adam(net.parameters(), lr=0.1)\ndef step(x):\n"
        " net(x).sum().backward(); opt.step(); opt.zero_grad()", "opt.param_groups[0]['lr'] = 0.2", None,
    ),
    "optimizer's parameters": (
        NET + "opt = fb.optim.SGD(net.parameters(), lr=0.1)\ndef step(x):\n"
        " net(x).sum().backward(); opt.step(); opt.zero_grad()",
        "opt.param_groups[0]['params'][0] = nn.Parameter(fb.ones(2, 2))",
        "the global 'opt.param_groups[0]' of prog.py has other parameters than before",
    ),
    "optimizer's groups": (
        NET + "opt = fb.optim.SGD(net.parameters(), lr=0.1)\ndef step(x):\n"
        " net(x).sum().backward(); opt.step(); opt.zero_grad()",
        "opt.add_param_group({'params': [nn.Parameter(fb.ones(1))]})",
        "the global 'opt' of prog.py had 1 groups and has 2",
    ),
}  # fmt: skip

#: Programs whose ``step`` changes what it reads.
BY_RUN: dict[str, tuple[str, str]] = {
    "global counter": ("n = 0\ndef step(x):\n global n\n n += 1", "the global 'n' of prog.py was 0 and is 1"),
    "new global": ("def step(x):\n global n\n n = 1", "the global 'n' of prog.py is new: 1"),
    "closure": (
        "def make():\n n = 0\n def f(x):\n  nonlocal n; n += 1\n return f\nstep = make()",
        "the closed-over 'n' of make.<locals>.f() was 0 and is 1",
    ),
    "closed-over list": (
        "def make():\n ks = []\n def f(x): ks.append(x)\n return f\nstep = make()",
        "the closed-over 'ks' of make.<locals>.f() had 0 elements and has 1",
    ),
    "list": (
        "ks = []\ndef f(x): ks.append(x)\ndef step(x):\n f(x)", "the global 'ks' of prog.py had 0 elements and has 1",
    ),
    "dict": ("d = {}\ndef step(x):\n d['x'] = x", "the global 'd' of prog.py has the new key 'x'"),
    "default": (
        "def step(x, ks=[]):\n ks.append(x)", "the default '__defaults__[0]' of step() had 0 elements and has 1",
    ),
    "attribute": (
        "class C:\n def __init__(self): self.n = 0\n def __call__(self, x): self.n += 1\nstep = C()",
        "'C.n' was 0 and is 1",
    ),
    "class counter": ("class C:\n n = 0\ndef step(x):\n C.n += 1", "the class attribute 'C.n' was 0 and is 1"),
    "attribute of a module": (
        "class N(nn.Module):\n def __init__(self): super().__init__(); self.n = 0\n"
        " def forward(self, x): self.n += 1\nstep = N()", "'N.n' was 0 and is 1",
    ),
    "tensor in a module": (
        "class N(nn.Module):\n def __init__(self): super().__init__(); self.h = fb.ones(1)\n"
        " def forward(self, x): self.h = self.h * 2\nstep = N()", "'N.h' was a Tensor and is another one",
    ),
    "first tensor in a module": (
        "class N(nn.Module):\n def forward(self, x): self.h = x * 2\nstep = nn.Sequential(N())",
        "'Sequential.0.h' is new: a Tensor",
    ),
    "module made at first need": (
        "class N(nn.Module):\n def __init__(self): super().__init__(); self.f = None\n"
        " def forward(self, x):\n  if self.f is None: self.f = nn.ReLU()\n  return self.f(x)\nstep = N()",
        "'N' has a new module 'f'",
    ),
    "eval inside": (NET + "def step(x):\n net.eval()", "the global 'net.training' of prog.py was True and is False"),
    "user's iterator": (
        "class I:\n n = 0\n def __iter__(self): return self\n def __next__(self):\n"
        "  self.n += 1; return self.n\nit = I()\ndef step(x):\n return next(it)",
        "the global 'it.n' of prog.py is new: 1",
    ),
}  # fmt: skip
