"""What ``explain()`` of a compiled function gives.

>>> double = fb.compile(lambda x: x + x)
>>> for i in range(5):
...     y = double(fb.tensor(float(i)))
>>> double.explain().replayed
2
"""

from flambeau.core.capture.telling import Explanation, Reason

__all__ = ["Explanation", "Reason"]
