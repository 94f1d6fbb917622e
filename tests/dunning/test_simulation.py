"""Customers over months, with payments, refusals, webhooks, outages, holds and promises as they come: nobody who has paid is touched, everybody who has not is, on the right day.

A small world for CI; the large one: python -m tests.scenarios.dunning_simulation --customers 10000 --months 24 --seed 1.
"""

import os

import pytest

from dunning.cases.models import CaseStep
from tests.scenarios.dunning_simulation import live

CUSTOMERS = int(os.environ.get("DUNNING_CUSTOMERS", "14"))
MONTHS = int(os.environ.get("DUNNING_MONTHS", "1"))
SEED = int(os.environ.get("DUNNING_SEED", "20261122"))


@pytest.mark.requirement("S0-121")
@pytest.mark.requirement("S1-044")
@pytest.mark.django_db
def test_nobody_who_has_paid_is_touched_and_everybody_who_has_not_is_on_the_right_day() -> None:
    found = live(seed=SEED, customers=range(CUSTOMERS), months=MONTHS, looks_a_day=2)

    assert found == [], "\n".join(found)
    acts = set(CaseStep.objects.filter(outcome="done").values_list("act", flat=True))
    assert {"notice", "restrict", "suspend"} <= acts, "the seed leads far enough"
