"""The events behind an invoice are given out byte by byte as they were hashed, also when their month is in the archive only."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from billing_site.kernel.merkle import root_of
from billing_site.kernel.period import Period
from invoicing.workflows.explain_invoice import prove_invoice
from invoicing.workflows.run_billing import issue_billing
from metering.archiving.export import archive_closed_days
from metering.archiving.files import UNREADABLE, archive, name_of
from metering.archiving.purge import purge_events
from metering.correcting import cancel_event
from metering.models import UsageEvent
from metering.queries.event_file import event_inclusion, event_lines, number_of_line, unlike_archive
from metering.queries.roots import EventSpan, event_roots
from metering.rollup import roll_up
from tests.factories import a_customer, a_plan, a_subscription, usd_per_action, use
from tests.metering.archiving.past import PastEvent, a_meter, accepted_long_ago, an_hour_of, months_ago

pytestmark = pytest.mark.django_db

OLD = months_ago(18)
HOUR = an_hour_of(OLD)
PERIOD = Period(OLD, OLD + timedelta(days=28))


@pytest.fixture
def before() -> list[bytes]:
    """The lines of a month before it is purged; some happened in it and came later, one was cancelled."""
    a_meter(filters={"region": ["eu", "us"]})
    accepted_long_ago(
        [
            PastEvent(
                "one", HOUR, quantity="2.50", properties='{"region": "eu", "exact": 1.50, "note": "a \\"b\\" \\\\ ü"}'
            ),
            PastEvent("two", an_hour_of(OLD, day=9), properties={"region": "us"}),
            PastEvent("filtered", an_hour_of(OLD, day=10), properties={"region": "asia"}),
            PastEvent("another's", an_hour_of(OLD, day=10), properties={"region": "eu"}, customer_id="cust_b"),
            PastEvent("cancelled", an_hour_of(OLD, day=11), properties={"region": "eu"}),
            PastEvent("next", an_hour_of(months_ago(17)), at=HOUR, properties={"region": "eu"}),
        ]
    )
    cancel_event(customer_id="cust_a", idempotency_key="cancelled", actor="test", reason="a test of ours")
    use("cust_a", "4", at=HOUR, region="us")
    roll_up()
    return list(event_lines(span=span()))


def span(known_through: int = 2**62) -> EventSpan:
    return EventSpan("actions", "cust_a", PERIOD, known_through)


def purge() -> None:
    archive_closed_days()
    assert purge_events(at=datetime.now(UTC), actor="test").purged
    assert not UsageEvent.objects.filter(idempotency_key="one").exists()


def test_a_purged_month_gives_out_the_same_bytes_and_so_the_same_root(before: list[bytes]) -> None:
    [stored] = event_roots(spans=[span()], expected_count=4)
    purge()

    after = list(event_lines(span=span()))

    assert after == before
    assert len(after) == 4
    assert root_of(after).hex() == stored.root


def test_what_was_known_earlier_is_given_out_as_it_was_known(before: list[bytes]) -> None:
    cancelled = UsageEvent.objects.get(idempotency_key="cancelled").pk
    purge()

    known = [number_of_line(line) for line in event_lines(span=span(known_through=cancelled))]

    assert known[-1] == cancelled
    assert len(known) == 3


def test_an_event_in_the_archive_shows_its_way_to_the_root(before: list[bytes]) -> None:
    purge()

    line, inclusion = event_inclusion(span=span(), count=4, number=number_of_line(before[1]))

    assert (line, inclusion.index) == (before[1], 1)


def test_a_file_that_is_gone_from_the_archive_ends_the_download_with_an_error(before: list[bytes]) -> None:
    purge()
    archive().delete(name_of(day=HOUR.date()))

    with pytest.raises(UNREADABLE):
        list(event_lines(span=span()))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            "UPDATE metering_usageevent SET quantity = quantity + 1 WHERE idempotency_key = 'two'",
            "is not as it was archived",
        ),
        ("DELETE FROM metering_usageevent WHERE idempotency_key = 'two'", "is not as it was archived"),
        (
            "UPDATE metering_usageevent SET customer_id = 'cust_a' WHERE idempotency_key = 'another''s'",
            "was not there when its day was archived",
        ),
    ],
)
def test_an_event_that_somebody_changed_is_named_where_its_day_is_archived(
    before: list[bytes], change: str, told: str
) -> None:
    number = UsageEvent.objects.get(idempotency_key="another's" if "another" in change else "two").pk
    archive_closed_days()
    assert unlike_archive(span=span()) == ""
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(change)
        cursor.execute("SET session_replication_role = origin")

    assert unlike_archive(span=span()) == f"event {number} {told}"


def test_a_proof_names_the_event_that_is_not_as_it_was_archived() -> None:
    a_plan("old", usd_per_action(), at=OLD)
    a_subscription(a_customer("cust_a"), plan="old", started_at=OLD)
    accepted_long_ago([PastEvent("one", HOUR), PastEvent("two", HOUR)])
    [invoice] = issue_billing(as_of=PERIOD.end + timedelta(days=4), at=PERIOD.end + timedelta(days=5)).invoices
    number = UsageEvent.objects.get(idempotency_key="two").pk
    archive_closed_days()
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE metering_usageevent SET namespace_id = 'x' WHERE idempotency_key = 'two'")
        cursor.execute("SET session_replication_role = origin")

    [proof] = prove_invoice(invoice=invoice)

    assert "an event was changed" in proof.differences[0]
    assert proof.differences[1] == f"event {number} is not as it was archived"
