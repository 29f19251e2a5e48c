"""What is recorded is what there are cases of, and a difference names its element."""

import pytest

from tests import recorded


@pytest.mark.parametrize("module", recorded.modules())
def test_every_case_has_an_answer_and_no_answer_is_left_over(module: str) -> None:
    assert list(recorded.cases(module)) == list(recorded.answers(module))
