"""Staff look at events and windows without changing them, and without counting millions of rows."""

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from metering.ingest import accept_events
from metering.models import Meter, UsageEvent, UsageWindow
from metering.operations import create_meter
from metering.rollup import roll_up
from tests.factories import JULY, an_event

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("alice", password="x"))
    return client


@pytest.fixture
def event() -> UsageEvent:
    create_meter(key="actions", name="Actions", event_type="action.consumed", actor="t", reason="t")
    accept_events(events=[an_event("cust_acme", "1234.5", at=JULY, key="key-1")])
    roll_up()
    return UsageEvent.objects.get()


@pytest.mark.parametrize("model", ["usageevent", "usagewindow"])
def test_a_list_of_facts_is_never_counted(staff: Client, event: UsageEvent, model: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        page = staff.get(f"/admin/metering/{model}/")

    assert page.status_code == 200
    assert "cust_acme" in page.content.decode()
    assert not [query for query in queries if "COUNT(" in query["sql"] and f"metering_{model}" in query["sql"]]


@pytest.mark.parametrize("term", ["cust_acme", "key-1"])
def test_events_are_found_by_customer_and_by_key(staff: Client, event: UsageEvent, term: str) -> None:
    found = staff.get("/admin/metering/usageevent/", {"q": term}).content.decode()
    missed = staff.get("/admin/metering/usageevent/", {"q": f"{term}x"}).content.decode()

    link = f"/admin/metering/usageevent/{event.pk}/change/"
    assert link in found
    assert link not in missed


@pytest.mark.parametrize(
    "query",
    [
        "event_type__exact=action.consumed",
        "happened_from=2026-07-01T00:00",
        "state=applied&received_from=2026-07-01T00:00",
    ],
)
def test_events_are_filtered(staff: Client, event: UsageEvent, query: str) -> None:
    page = staff.get(f"/admin/metering/usageevent/?{query}")

    assert page.status_code == 200
    assert f"/admin/metering/usageevent/{event.pk}/change/" in page.content.decode()


@pytest.mark.parametrize("model", [UsageEvent, UsageWindow])
def test_facts_are_looked_at_and_not_edited(staff: Client, event: UsageEvent, model: type) -> None:
    row = model.objects.get()
    path = f"/admin/metering/{model._meta.model_name}"

    assert staff.get(f"{path}/{row.pk}/change/").status_code == 200
    assert staff.post(f"{path}/{row.pk}/change/", {"quantity": "0"}).status_code == 403
    assert staff.get(f"{path}/add/").status_code == 403
    assert staff.post(f"{path}/{row.pk}/delete/", {"post": "yes"}).status_code == 403


def test_a_meter_is_created_and_renamed_with_a_reason_and_keeps_its_meaning(staff: Client) -> None:
    fields = {"key": "tokens", "name": "Tokens", "event_type": "llm", "aggregation": "sum", "unit": "token"}

    silent = staff.post("/admin/metering/meter/add/", fields)
    created = staff.post("/admin/metering/meter/add/", fields | {"reason": "launch"})
    meter = Meter.objects.get()
    renamed = staff.post(
        f"/admin/metering/meter/{meter.pk}/change/",
        {"name": "All tokens", "unit": "token", "event_type": "other", "reason": "clearer"},
    )

    assert (silent.status_code, created.status_code, renamed.status_code) == (200, 302, 302)
    meter.refresh_from_db()
    assert (meter.name, meter.event_type) == ("All tokens", "llm")
    reasons = [row.history_change_reason for row in meter.history.order_by("history_id")]
    assert reasons == ["alice: launch", "alice: clearer"]
    assert "clearer" in staff.get(f"/admin/metering/meter/{meter.pk}/history/").content.decode()


def test_a_meter_that_makes_no_sense_is_told_by_field(staff: Client) -> None:
    page = staff.post(
        "/admin/metering/meter/add/",
        {
            "key": "k",
            "name": "K",
            "event_type": "t",
            "aggregation": "count",
            "value_property": "p",
            "unit": "u",
            "reason": "r",
        },
    )

    assert page.status_code == 200
    assert "a count reads no property" in page.content.decode()
    assert not Meter.objects.exists()
