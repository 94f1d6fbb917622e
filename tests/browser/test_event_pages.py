"""The event explorer, an event's life, contradictions and what counts nowhere, in a real browser: nothing cut, nothing said twice."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from playwright.sync_api import Page, expect

from metering.correcting import amend_event, cancel_event
from metering.ingest import accept_events
from metering.models import EventConflict, Meter, UsageEvent
from metering.operations import create_meter
from metering.rollup import roll_up
from tests.factories import an_event

NOON = datetime(2026, 7, 9, 12, tzinfo=UTC)
LONG_KEY = "ns-production-eu-central-1/workflow/" + "0123456789abcdef" * 13 + "-retry-01"
LONG_CUSTOMER = "cust_" + "meridian_freight_international_holdings_" * 2

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def signed_in(live_server: Any, new_page: Callable[..., Page]) -> Callable[..., Page]:
    """Open pages of a signed-in administrator."""
    client = Client()
    client.force_login(User.objects.create_superuser("root", "root@example.com", "root"))

    def open_page(**options: Any) -> Page:
        page = new_page(**options)
        session = client.cookies["sessionid"].value
        page.context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        return page

    return open_page


@pytest.fixture
def events(transactional_db: Any) -> list[UsageEvent]:
    """Events of every state, sixty of them, one with the longest key and a contradiction."""
    create_meter(key="actions", name="Actions", event_type="action.consumed", unit="action", actor="t", reason="t")
    create_meter(
        key="storage",
        name="Storage",
        event_type="disk",
        aggregation="time_weighted_sum",
        unit="GB",
        actor="t",
        reason="t",
    )
    create_meter(key="new", name="New", event_type="llm", effective_from=NOON, actor="t", reason="t")
    plain = an_event(LONG_CUSTOMER, "1234567890123456.123456789012", at=NOON, key=LONG_KEY)
    fields = {name: getattr(plain, name) for name in plain.__struct_fields__}
    long_one = type(plain)(**fields | {"properties": {"region": "eu-central-1", "trace": "f" * 400}})
    accept_events(events=[long_one])
    accept_events(events=[an_event(LONG_CUSTOMER, "7", at=NOON, key=LONG_KEY)])
    accept_events(
        events=[an_event("cust_acme", str(n), at=NOON + timedelta(minutes=n), key=f"key-{n}") for n in range(60)]
    )
    accept_events(
        events=[an_event("cust_acme", "2", at=NOON - timedelta(hours=n), event_type="disk") for n in range(3)]
    )
    accept_events(events=[an_event("cust_acme", "1", at=NOON - timedelta(hours=1), event_type="llm")])
    accept_events(events=[an_event("cust_acme", "1", at=NOON, event_type="dance.danced." + "x" * 150)])
    cancel_event(customer_id="cust_acme", idempotency_key="key-1", actor="alice", reason="sent twice")
    amend_event(
        customer_id="cust_acme", idempotency_key="key-2", changes={"quantity": "5"}, actor="alice", reason="a typo"
    )
    roll_up()
    accept_events(events=[an_event("cust_acme", "1", at=NOON, key="waits")])
    return list(UsageEvent.objects.order_by("id"))


def addresses(events: list[UsageEvent]) -> dict[str, str]:
    conflict = EventConflict.objects.get()
    by_key = {event.idempotency_key: event.pk for event in events}
    new, storage = Meter.objects.get(key="new"), Meter.objects.get(key="storage")
    explorer = reverse("admin:metering_usageevent_changelist")
    return {
        "explorer": explorer,
        "explorer-none": f"{explorer}?q=nobody&state=applied",
        "explorer-customer": f"{explorer}?q={LONG_CUSTOMER}",
        "event-long": reverse("admin:metering_usageevent_change", args=[by_key[LONG_KEY]]),
        "event-replaced": reverse("admin:metering_usageevent_change", args=[by_key["key-2"]]),
        "event-amend": reverse("admin:metering_usageevent_amend", args=[by_key[LONG_KEY]]),
        "event-cancel": reverse("admin:metering_usageevent_cancel", args=[by_key[LONG_KEY]]),
        "conflicts": reverse("admin:metering_eventconflict_changelist"),
        "conflict": reverse("admin:metering_eventconflict_change", args=[conflict.pk]),
        "conflict-amend": reverse("admin:metering_eventconflict_amend", args=[conflict.pk]),
        "unapplied": reverse("admin:metering_unappliedevent_changelist"),
        "date-back": reverse("admin:metering_meter_date_back", args=[new.pk]),
        "rebuild": reverse("admin:metering_meter_rebuild", args=[new.pk]),
        "meter": reverse("admin:metering_meter_change", args=[storage.pk]),
        "usage": reverse("admin:metering_meter_usage", args=[storage.pk]) + "?customer_id=cust_acme&month=2026-07",
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_is_wider_than_the_window(
    signed_in: Callable[..., Page], events: list[UsageEvent], width: int, scheme: str
) -> None:
    page = signed_in(width=width, scheme=scheme)

    for name, address in addresses(events).items():
        page.goto(address, wait_until="networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name


def test_an_empty_house_says_what_will_fill_it(signed_in: Callable[..., Page], transactional_db: Any) -> None:
    page = signed_in(width=390)

    page.goto(reverse("admin:metering_usageevent_changelist"))
    expect(page.get_by_text("No event has arrived yet")).to_be_visible()
    page.goto(reverse("admin:metering_eventconflict_changelist"))
    expect(page.get_by_text("is refused, and stands here with both")).to_be_visible()
    page.goto(reverse("admin:metering_unappliedevent_changelist"))
    expect(page.get_by_text("None: every accepted event is in a window")).to_be_visible()


def test_the_explorer_filters_opens_pages_and_leads_to_an_events_life(
    signed_in: Callable[..., Page], events: list[UsageEvent]
) -> None:
    page = signed_in()
    page.goto(reverse("admin:metering_usageevent_changelist"), wait_until="networkidle")
    expect(page.locator(".bo-events tbody tr")).to_have_count(50)

    page.get_by_role("link", name="Older events").click()
    expect(page.locator(".bo-events tbody tr")).to_have_count(len(events) - 50)

    page.get_by_role("link", name="Newest events").click()
    page.get_by_label("State").select_option("cancelled")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="key-1", exact=True).click()

    expect(page.get_by_text("sent twice")).to_be_visible()
    expect(page.get_by_role("link", name="Amend")).to_have_count(0)


def test_an_event_is_amended_after_its_effect_was_seen(
    signed_in: Callable[..., Page], events: list[UsageEvent]
) -> None:
    page = signed_in()
    event = next(one for one in events if one.idempotency_key == "key-7")
    page.goto(reverse("admin:metering_usageevent_change", args=[event.pk]))

    page.get_by_role("link", name="Amend").click()
    page.get_by_label("Quantity").fill("17")
    page.get_by_label("Reason").fill("a digit was lost")
    page.get_by_role("button", name="See the effect").click()
    expect(page.get_by_text("(+10)")).to_be_visible()
    page.get_by_label("Quantity").fill("18")
    page.get_by_role("button", name="Amend the event").click()
    expect(page.get_by_text("(+11)")).to_be_visible()
    expect(page.get_by_text("look at it again")).to_be_visible()
    page.get_by_label("Quantity").fill("17")
    page.get_by_role("button", name="Amend the event").click()
    expect(page.get_by_text("(+10)")).to_be_visible()
    page.get_by_role("button", name="Amend the event").click()

    expect(page.get_by_text("key-7~amended-1").first).to_be_visible()
    assert UsageEvent.objects.get(idempotency_key="key-7~amended-1").quantity == 17


def test_a_contradiction_is_settled_where_both_stand_side_by_side(
    signed_in: Callable[..., Page], events: list[UsageEvent]
) -> None:
    page = signed_in()
    page.goto(reverse("admin:metering_eventconflict_changelist"), wait_until="networkidle")
    page.locator("#result_list a").first.click()
    expect(page.locator(".bo-differs > td:first-child")).to_have_text(
        [re.compile("Quantity"), re.compile("Properties")]
    )
    page.get_by_role("link", name="Keep the accepted one").click()
    page.get_by_label("Reason").fill("the sender tested")
    page.get_by_role("button", name="Keep the accepted one").click()

    expect(page.get_by_text("Settled: the accepted one counts.")).to_be_visible()
    assert EventConflict.objects.get().outcome == "kept"
