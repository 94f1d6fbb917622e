"""Customers over months, with payments, refusals, webhooks, outages, holds and promises as they come: nobody who has paid is touched, everybody who has not is, on the right day.

A small world for CI; the large one: python -m tests.scenarios.dunning_simulation --customers 10000 --months 24 --seed 1.
"""

import inspect
import os

import pytest

from dunning.cases.models import CaseStep
from invoicing.payments import gateway
from invoicing.payments.models import PaymentFailure, PushIntent, StripeNotice
from tests.scenarios.dunning.twin import PLAYED, Twin
from tests.scenarios.dunning_simulation import live

CUSTOMERS = int(os.environ.get("DUNNING_CUSTOMERS", "14"))
MONTHS = int(os.environ.get("DUNNING_MONTHS", "1"))
SEED = int(os.environ.get("DUNNING_SEED", "20261122"))


@pytest.mark.requirement("S0-121")
@pytest.mark.requirement("S1-044")
@pytest.mark.django_db
def test_nobody_who_has_paid_is_touched_and_everybody_who_has_not_is_on_the_right_day() -> None:
    found = live(seed=SEED, customers=range(CUSTOMERS), months=MONTHS, looks_a_day=2).differences

    assert found == [], "\n".join(found)
    acts = set(CaseStep.objects.filter(outcome="done").values_list("act", flat=True))
    assert {"notice", "restrict", "suspend"} <= acts, "the seed leads far enough"
    assert PushIntent.objects.filter(status="pushed").exists(), "invoices reach Stripe"
    assert StripeNotice.objects.exists() and PaymentFailure.objects.exists(), "a bank refuses, and Stripe tells of it"


@pytest.mark.parametrize("name", PLAYED)
def test_stripe_is_played_as_the_gateway_is_called(name: str) -> None:
    called, played = (inspect.signature(getattr(one, name)) for one in (gateway, Twin))

    played.bind(None, **dict.fromkeys(called.parameters))
