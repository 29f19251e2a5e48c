"""The benchmarks' programs give what they gave on PyTorch."""

from tests import recorded

test_as_in_pytorch = recorded.tests_of("tests/benchmarks")
