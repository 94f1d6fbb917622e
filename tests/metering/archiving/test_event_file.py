"""The events behind an invoice are given out byte by byte as they were hashed, also when their month is in the archive only."""

from datetime import UTC, datetime, timedelta

import pytest

from billing_site.kernel.merkle import root_of
from billing_site.kernel.period import Period
from metering.archiving.export import archive_closed_days
from metering.archiving.files import UNREADABLE, archive, name_of
from metering.archiving.purge import purge_events
from metering.correcting import cancel_event
from metering.models import UsageEvent
from metering.queries.event_file import event_inclusion, event_lines, number_of_line
from metering.queries.roots import EventSpan, event_roots
from metering.rollup import roll_up
from tests.factories import use
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
