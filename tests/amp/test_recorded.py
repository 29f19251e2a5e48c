"""The recorded cases answer as they did on PyTorch."""

from tests import recorded

test_as_in_pytorch = recorded.tests_of("tests/amp")
