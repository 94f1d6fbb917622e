"""Customers over months, with payments, refusals, webhooks, outages, holds and promises as they come: nobody who has paid is touched, everybody who has not is, on the right day.

A small world for CI; the large one: python -m tests.scenarios.dunning_simulation --customers 10000 --months 24 --seed 1.
"""

import inspect
import os
from pathlib import Path

import pytest

from dunning.cases.models import CaseStep
from invoicing.payments import gateway
from invoicing.payments.models import PaymentFailure, PushIntent, StripeNotice
from tests.scenarios.dunning.parts import Part, keep, summed
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


def test_parts_have_each_customer_once_and_their_results_are_summed_with_what_is_missing(tmp_path: Path) -> None:
    parts = [Part.read(f"{number}/3") for number in (1, 2, 3)]
    assert [number for part in parts for number in part.customers(10)] == list(range(10))
    assert len({part.seed(seed) for part in parts for seed in (1, 2)}) == 6

    whole = {"seed": 1, "customers": 10, "months": 2, "looks": 2}
    for number, differences in ((1, 4), (3, 0), (1, 0)):
        part = parts[number - 1]
        lived = {
            "lives": len(part.customers(10)),
            "customer_days": 300,
            "seconds": 60,
            "counts": {"steps suspend": number},
        }
        own = {"own_seed": part.seed(1), "differences": differences}
        keep(tmp_path / "lives.jsonl", whole=whole, part=part, lived={**own, **lived})

    told = summed((tmp_path / "lives.jsonl").read_text().splitlines())

    assert "parts: 2 of 3, missing: 2" in told
    assert "lived: 7 customers, 600 days of customers in 120 s" in told
    assert "differences: 0, in parts: none" in told, "a part that was lived again counts once"
    assert told.endswith("steps suspend: 4")


@pytest.mark.parametrize("name", PLAYED)
def test_stripe_is_played_as_the_gateway_is_called(name: str) -> None:
    called, played = (inspect.signature(getattr(one, name)) for one in (gateway, Twin))

    played.bind(None, **dict.fromkeys(called.parameters))
