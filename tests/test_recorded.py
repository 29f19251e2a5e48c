"""What is recorded is what there are cases of, and a difference names its element."""

import pytest

from tests import recorded


@pytest.mark.parametrize("module", recorded.modules())
def test_every_case_has_an_answer_and_no_answer_is_left_over(module: str) -> None:
    assert list(recorded.cases(module)) == list(recorded.answers(module))


def test_a_difference_names_result_element_and_values() -> None:
    found, wanted = ({"results": [{"float64[2, 3]": [0.0, 1.0, 2.0, 3.0, x, 5.0]}]} for x in (4.5, 4.0))
    assert list(recorded.differences(found, wanted)) == [
        "answer results 0 float64[2, 3], element [1, 1]: found 4.5, recorded 4.0"
    ]
    assert not list(recorded.differences(wanted, wanted))
