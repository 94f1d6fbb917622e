"""Staff find an event, see its whole life, correct it with a reason, and settle what contradicts it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.urls import reverse

from billing_site.backoffice.roles import ensure_roles
from metering.correcting import amend_event, cancel_event
from metering.ingest import accept_events
from metering.models import EventCancellation, EventConflict, Meter, UsageEvent
from metering.operations import create_meter
from metering.rollup import roll_up
from tests.factories import an_event

NOON = datetime(2026, 7, 9, 12, tzinfo=UTC)
KEY: dict[str, Any] = {"customer_id": "cust_acme", "idempotency_key": "key-1"}
LIST = "/admin/metering/usageevent/"

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(client: Client) -> Client:
    client.force_login(get_user_model().objects.create_superuser("alice", password="x"))
    return client


@pytest.fixture
def looker() -> Client:
    """Somebody who may look at everything of metering and change nothing."""
    ensure_roles()
    person = get_user_model().objects.create_user("sam", is_staff=True)
    kinds = ContentType.objects.filter(app_label="metering")
    person.user_permissions.add(*Permission.objects.filter(content_type__in=kinds, codename__startswith="view_"))
    client = Client()
    client.force_login(person)
    return client


@pytest.fixture
def event() -> UsageEvent:
    create_meter(key="actions", name="Actions", event_type="action.consumed", unit="action", actor="t", reason="t")
    accept_events(events=[an_event("cust_acme", "5", at=NOON, key="key-1")])
    roll_up()
    return UsageEvent.objects.get()


def address(event: UsageEvent, deed: str = "change") -> str:
    return reverse(f"admin:metering_usageevent_{deed}", args=[event.pk])


def text(client: Client, url: str, parameters: dict[str, str] | None = None) -> str:
    answer = client.get(url, parameters or {})
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_page_of_an_event_tells_its_life(staff: Client, event: UsageEvent) -> None:
    accept_events(events=[an_event("cust_acme", "6", at=NOON, key="key-1")])
    replacement = amend_event(**KEY, changes={"quantity": "7"}, actor="bob", reason="a typo").replacement_number

    page = text(staff, address(event))
    following = text(staff, address(UsageEvent.objects.get(pk=replacement)))

    for words in ("replaced", "Contradicted", "by bob", "a typo", f"/usageevent/{replacement}/change/"):
        assert words in page
    assert "In the place of another" in following
    assert "not summed yet; it counts 7" in following


@pytest.mark.requirement("S4-041")
def test_cancelling_says_what_it_does_to_each_meter_and_asks_why(staff: Client, event: UsageEvent) -> None:
    asked = text(staff, address(event, "cancel"))
    silent = staff.post(address(event, "cancel"), {"reason": " "})
    assert not EventCancellation.objects.exists()
    done = staff.post(address(event, "cancel"), {"reason": "sent twice"}, follow=True)

    assert "Actions, 2026-07 (UTC): 5 → 0 actions (−5)" in asked
    assert silent.status_code == 200
    cancellation = EventCancellation.objects.get()
    assert (cancellation.actor, cancellation.reason) == ("alice", "sent twice")
    assert "it counts no more" in done.content.decode()


def test_amending_shows_the_effect_before_it_is_confirmed(staff: Client, event: UsageEvent) -> None:
    fields = {
        "event_type": "action.consumed",
        "quantity": "7.5",
        "timestamp": "2026-07-09T12:00:00Z",
        "namespace_id": "",
        "properties": "",
        "reason": "a typo",
    }

    answer = staff.post(address(event, "amend"), fields)
    effect, seen = answer.content.decode(), dict(answer.context["hidden"])
    another = staff.post(address(event, "amend"), fields | {"quantity": "75"} | seen).content.decode()
    assert not EventCancellation.objects.exists()
    staff.post(address(event, "amend"), fields | seen)

    assert "5 → 75 actions (+70)" in another
    assert "look at it again" in another
    assert "5 → 7.5 actions (+2.5)" in effect
    assert "Amend the event" in effect
    assert UsageEvent.objects.get(idempotency_key="key-1~amended-1").quantity == 7.5


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("quantity", "-1", "must not be negative"),
        ("timestamp", "yesterday", "is not a time"),
        ("properties", "{", "this is not JSON"),
        ("properties", "[]", "must be an object"),
        ("quantity", "5.0", "would change nothing"),
        ("quantity", "5", "say what is right"),
    ],
)
def test_an_amendment_that_cannot_be_is_told_beside_the_field(
    staff: Client, event: UsageEvent, field: str, value: str, told: str
) -> None:
    fields = {"event_type": "action.consumed", "quantity": "5", "timestamp": "2026-07-09T12:00:00Z", "reason": "r"}

    page = staff.post(address(event, "amend"), fields | {field: value, "confirmed": "1"}).content.decode()

    assert told in page
    assert not EventCancellation.objects.exists()


def test_a_replaced_event_leads_to_the_one_that_counts(staff: Client, event: UsageEvent) -> None:
    replacement = amend_event(**KEY, changes={"quantity": "7"}, actor="bob", reason="a typo").replacement_number
    cancelled = cancel_event(**KEY, actor="bob", reason="all wrong")

    for deed in ("cancel", "amend"):
        answer = staff.post(address(event, deed), {"reason": "again"})
        assert answer["Location"] == f"/admin/metering/usageevent/{replacement}/change/"
    refused = staff.post(
        reverse("admin:metering_usageevent_amend", args=[replacement]),
        {"event_type": "t", "quantity": "1", "timestamp": "2026-07-09T12:00:00Z", "reason": "r", "confirmed": "1"},
    )
    assert "was cancelled by bob" in refused.content.decode()
    assert EventCancellation.objects.latest("number") == cancelled


def test_who_only_looks_corrects_nothing(looker: Client, event: UsageEvent) -> None:
    accept_events(events=[an_event("cust_acme", "6", at=NOON, key="key-1")])
    conflict = EventConflict.objects.get()
    meter = Meter.objects.get()

    assert ">Cancel</a>" not in text(looker, address(event))
    assert "Keep the accepted one" not in text(
        looker, reverse("admin:metering_eventconflict_change", args=[conflict.pk])
    )
    for url in (
        *(address(event, deed) for deed in ("cancel", "amend")),
        *(reverse(f"admin:metering_eventconflict_{deed}", args=[conflict.pk]) for deed in ("keep", "amend")),
        *(reverse(f"admin:metering_meter_{deed}", args=[meter.pk]) for deed in ("date_back", "rebuild")),
    ):
        assert looker.get(url).status_code == 403, url
        assert looker.post(url, {"reason": "r"}).status_code == 403, url


def test_both_contents_stand_side_by_side_and_one_is_chosen(staff: Client, event: UsageEvent) -> None:
    accept_events(events=[an_event("cust_acme", "6.25", at=NOON + timedelta(hours=1), key="key-1")])
    conflict = EventConflict.objects.get()
    page = reverse("admin:metering_eventconflict_change", args=[conflict.pk])
    amend = reverse("admin:metering_eventconflict_amend", args=[conflict.pk])

    shown = text(staff, page)
    asked = text(staff, amend)
    staff.post(amend, {"reason": "the customer says so"})

    marked = [one.title for one in staff.get(page).context["differences"] if one.differs and not one.is_stamp]
    assert marked == ["Quantity"]
    assert "6.25" in shown
    assert "5 → 6.25 actions (+1.25)" in asked
    conflict.refresh_from_db()
    assert (conflict.outcome, conflict.settled_by) == ("amended", "alice")
    assert "key-1" in text(staff, "/admin/metering/eventconflict/", {"state": "settled", "q": "key-1"})
    assert "cust_acme" not in text(staff, "/admin/metering/eventconflict/", {"state": "waiting"})


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({}, ["waits", "moved~amended-1", "moved", "odd", "gone", "key-1"]),
        ({"q": "cust_acme"}, ["odd", "waits", "moved~amended-1", "moved", "gone", "key-1"]),
        ({"q": "key-1"}, ["key-1"]),
        ({"q": "an id"}, []),
        ({"state": "applied"}, ["moved~amended-1", "key-1"]),
        ({"state": "waiting"}, ["waits"]),
        ({"state": "cancelled"}, ["gone"]),
        ({"state": "replaced"}, ["moved"]),
        ({"state": "no_meter"}, ["odd"]),
        ({"state": "no_meter", "q": "cust_acme"}, ["odd"]),
        ({"state": "no_meter", "q": "cust_other"}, []),
        ({"state": "no_value"}, []),
        ({"state": "applied", "q": "cust_acme"}, ["moved~amended-1", "key-1"]),
        ({"event_type__exact": "dance"}, ["odd"]),
        ({"event_type__exact": "dance", "state": "no_meter"}, ["odd"]),
        ({"happened_from": "2026-07-09T13:00"}, ["odd"]),
        ({"happened_before": "2026-07-09T12:00"}, []),
        ({"received_before": "2026-07-09T12:00"}, []),
        ({"received_from": "2026-07-09T12:00", "q": "cust_acme", "state": "cancelled"}, ["gone"]),
    ],
)
def test_the_explorer_finds_by_key_customer_type_time_and_state(
    staff: Client, event: UsageEvent, query: dict[str, str], found: list[str]
) -> None:
    accept_events(events=[an_event("cust_acme", "1", at=NOON, key="gone")])
    accept_events(events=[an_event("cust_acme", "1", at=NOON + timedelta(hours=2), key="odd", event_type="dance")])
    accept_events(events=[an_event("cust_acme", "1", at=NOON, key="moved")])
    cancel_event(customer_id="cust_acme", idempotency_key="gone", actor="a", reason="r")
    amend_event(customer_id="cust_acme", idempotency_key="moved", changes={"quantity": "2"}, actor="a", reason="r")
    roll_up()
    accept_events(events=[an_event("cust_acme", "1", at=NOON, key="waits")])

    page = staff.get(LIST, query).context["found"].page

    keys = [one.event.idempotency_key for one in page.events]
    assert sorted(keys) == sorted(found)
    if "q" not in query and "event_type__exact" not in query:
        assert [one.event.pk for one in page.events] == sorted((one.event.pk for one in page.events), reverse=True)


@pytest.mark.parametrize(
    "query", [{}, {"q": "cust_acme"}, {"event_type__exact": "action.consumed"}, {"state": "no_meter"}]
)
def test_the_pages_of_the_explorer_hold_every_event_once(
    staff: Client, event: UsageEvent, query: dict[str, str]
) -> None:
    kind = "dance" if "state" in query else "action.consumed"
    at = [NOON, NOON, NOON + timedelta(seconds=1)]
    accept_events(events=[an_event("cust_acme", "1", at=at[n % 3], key=f"k{n}", event_type=kind) for n in range(120)])
    roll_up()

    seen: list[int] = []
    url = LIST + "?" + "&".join(f"{name}={value}" for name, value in query.items())
    for _ in range(5):
        found = staff.get(url).context["found"]
        seen += [one.event.pk for one in found.page.events]
        if not found.next_query:
            break
        url = f"{LIST}?{found.next_query}"

    expected = UsageEvent.objects.filter(event_type=kind) if query else UsageEvent.objects.all()
    assert len(seen) == len(set(seen)) == expected.count()


@pytest.mark.parametrize(
    "query",
    [
        {"after": "nonsense"},
        {"after": "2026-07-01T00:00:00/1"},
        {"after": "2026-07-01T00:00:00+00:00/" + "9" * 30},
        {"after": "2026-07-01T00:00:00+00:00/9999999999999999999"},
        {"q": "\x00"},
        {"q": "9" * 18},
        {"q": "9" * 40},
        {"q": "'; DROP TABLE x; --"},
        {"state": "odd"},
        {"happened_from": "yesterday"},
        {"happened_from": "0001-01-01T00:00"},
        {"received_from": "9999-12-31T23:59"},
        {"received_before": "0001-01-01T00:00"},
    ],
)
def test_the_explorer_takes_any_address(staff: Client, event: UsageEvent, query: dict[str, str]) -> None:
    assert staff.get(LIST, query).status_code == 200


def test_an_event_id_is_found_with_and_without_its_customer(staff: Client, event: UsageEvent) -> None:
    plain = an_event("cust_acme", "1", at=NOON, key="other-key")
    fields = {name: getattr(plain, name) for name in plain.__struct_fields__}
    accept_events(events=[type(plain)(**fields | {"event_id": "evt_77"})])

    page = staff.get(LIST, {"q": "evt_77"}).context["found"].page

    assert [one.event.idempotency_key for one in page.events] == ["other-key"]


def test_events_in_no_window_stand_by_reason_with_what_to_do(staff: Client, event: UsageEvent) -> None:
    create_meter(
        key="new",
        name="New",
        event_type="llm",
        effective_from=NOON,
        value_property="tokens",
        filters={"region": ["eu"]},
        actor="t",
        reason="t",
    )
    early = an_event("cust_acme", "1", at=NOON - timedelta(hours=1), event_type="llm")
    lacking = an_event("cust_acme", "1", at=NOON, event_type="llm")
    fields = {name: getattr(lacking, name) for name in lacking.__struct_fields__}
    no_value = type(lacking)(**fields | {"properties": {"region": "eu"}, "idempotency_key": "no value"})
    accept_events(events=[early, lacking, no_value, an_event("cust_acme", "1", at=NOON, event_type="dance")])
    roll_up()

    page = staff.get("/admin/metering/unappliedevent/")

    kinds = {(kind.event_type, kind.reason.value): kind.event_count for kind in page.context["kinds"]}
    assert kinds == {
        ("llm", "before_meter"): 1,
        ("llm", "filtered_out"): 1,
        ("llm", "no_value"): 1,
        ("dance", "no_meter"): 1,
    }
    assert f"/admin/metering/meter/{Meter.objects.get(key='new').pk}/date-back" in page.content.decode()
    assert "Create a meter" in page.content.decode()


def test_a_meter_is_dated_back_after_its_effect_was_seen(staff: Client, event: UsageEvent) -> None:
    meter = create_meter(
        key="late", name="Late", event_type="llm", unit="token", effective_from=NOON, actor="t", reason="t"
    )
    for hours, key in ((1, "one"), (2, "two"), (50, "older")):
        accept_events(
            events=[an_event("cust_acme", "10.5", at=NOON - timedelta(hours=hours), event_type="llm", key=key)]
        )
    roll_up()
    page = reverse("admin:metering_meter_date_back", args=[meter.pk])
    fields = {"effective_from": "2026-07-08T12:00", "reason": "priced since the 8th"}

    asked = staff.post(page, fields).content.decode()
    outdated = staff.post(page, fields | {"confirmed": "2026-07-08T12:00:00+00:00 1"}).content.decode()
    staff.post(page, fields | {"confirmed": "2026-07-07T12:00:00+00:00 2"})
    meter.refresh_from_db()
    assert meter.effective_from == NOON
    staff.post(page, fields | {"confirmed": "2026-07-08T12:00:00+00:00 2"})

    assert "2 events of 1 customers would count" in asked
    assert "21 tokens" in asked
    assert "2 events of 1 customers would count" in outdated
    meter.refresh_from_db()
    assert meter.effective_from == NOON - timedelta(days=1)
    assert "priced since the 8th" in text(staff, reverse("admin:metering_meter_change", args=[meter.pk]))


def test_windows_are_rebuilt_after_the_difference_was_seen(staff: Client, event: UsageEvent) -> None:
    meter = Meter.objects.get()
    page = reverse("admin:metering_meter_rebuild", args=[meter.pk])
    fields = {"start": "2026-07-01T00:00", "end": "2026-08-01T00:00", "reason": "a bad disk"}

    well = staff.post(page, fields | {"confirmed": "1"}).content.decode()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE metering_usagewindow SET value = 99")
    asked = staff.post(page, fields).content.decode()
    staff.post(page, fields | {"confirmed": "1"})

    assert "there is nothing to rebuild" in well
    assert "1 of 1 windows" in asked
    assert ">99<" in asked
    assert meter.windows.get().value == 5
    assert "a bad disk" in meter.history.latest().history_change_reason


def test_the_usage_page_works_a_time_weighted_sum_out(staff: Client, event: UsageEvent) -> None:
    meter = create_meter(
        key="storage",
        name="Storage",
        event_type="disk",
        aggregation="time_weighted_sum",
        unit="GB",
        actor="t",
        reason="t",
    )
    accept_events(events=[an_event("cust_acme", "2", at=NOON, event_type="disk")])
    accept_events(events=[an_event("cust_acme", "0", at=NOON + timedelta(hours=3), event_type="disk")])
    roll_up()

    page = staff.get(
        reverse("admin:metering_meter_usage", args=[meter.pk]), {"customer_id": "cust_acme", "month": "2026-07"}
    )

    assert page.context["page"].total == 6
    assert [(one.level, one.quantity) for one in page.context["page"].working] == [(2, 6)]
    assert "How it was worked out" in page.content.decode()
    for month in ("", "odd", "0001-01", "9999-12"):
        url = reverse("admin:metering_meter_usage", args=[meter.pk])
        assert staff.get(url, {"customer_id": "x", "month": month}).status_code == 200
