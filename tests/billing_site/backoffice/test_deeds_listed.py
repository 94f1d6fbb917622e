"""Deeds without a history of their own stand on the changes page too: who, when and why."""

import pytest
from django.test import Client
from django.urls import reverse

from billing_site.backoffice.deeds import DEEDS
from metering.correcting import amend_event, cancel_event
from metering.models import EventCancellation
from metering.operations import backdate_meter, create_meter
from tests.factories import JULY, use

pytestmark = pytest.mark.django_db


def changes(administrator: Client, **asked: str) -> list[tuple[str, str, str, str]]:
    page = administrator.get(reverse("admin:backoffice_changes"), asked)
    assert page.status_code == 200
    return [(one.model, one.verb, one.actor, one.reason) for one in page.context["changes"]]


@pytest.mark.requirement("S0-113")
def test_a_cancelled_and_an_amended_event_and_a_meter_dated_back_are_listed(administrator: Client) -> None:
    meter = create_meter(
        key="actions", name="Actions", event_type="action.consumed", effective_from=JULY, actor="test", reason="set up"
    )
    use("cust_acme", "1", at=JULY, key="one")
    use("cust_acme", "2", at=JULY, key="two")
    cancel_event(customer_id="cust_acme", idempotency_key="one", actor="fiona", reason="sent by a test")
    amend_event(
        customer_id="cust_acme", idempotency_key="two", changes={"quantity": "3"}, actor="otto", reason="a digit"
    )
    backdate_meter(key=meter.key, effective_from=JULY.replace(year=2025), actor="fiona", reason="was forgotten")

    everything = changes(administrator)
    by_fiona = changes(administrator, actor="Fiona", model="metering.eventcancellation")

    assert ("event cancellation", "cancelled", "fiona", "sent by a test") in everything
    assert ("event cancellation", "amended", "otto", "a digit") in everything
    assert any(one[1].startswith("dated back") and one[3] == "was forgotten" for one in everything)
    assert by_fiona == [("event cancellation", "cancelled", "fiona", "sent by a test")]
    assert EventCancellation.objects.count() == 2


def test_every_deed_can_be_asked_for(administrator: Client) -> None:
    assert [changes(administrator, model=label) for label in DEEDS] == [[] for _ in DEEDS]
