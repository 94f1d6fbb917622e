"""Random contracts, billed end to end and told again by the second opinion, agree to 0 cents: the first half of them."""

import pytest

from tests.invoicing.reference.play import BATCHES, play


@pytest.mark.requirement("S0-135")
@pytest.mark.django_db
@pytest.mark.parametrize("numbers", BATCHES[::2], ids=lambda numbers: f"{numbers[0]}-{numbers[-1]}")
def test_random_contracts_are_billed_to_the_cent_as_the_second_opinion_bills_them(numbers: list[int]) -> None:
    play(numbers)
