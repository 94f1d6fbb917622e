"""The second half of the random contracts of `test_contracts.py`: in a file of its own, for two workers share files."""

import pytest

from tests.invoicing.reference.play import BATCHES, play


@pytest.mark.requirement("S0-135")
@pytest.mark.django_db
@pytest.mark.parametrize("numbers", BATCHES[1::2], ids=lambda numbers: f"{numbers[0]}-{numbers[-1]}")
def test_more_random_contracts_are_billed_to_the_cent_as_the_second_opinion_bills_them(numbers: list[int]) -> None:
    play(numbers)
