"""A contradiction is settled once: the accepted event is kept, or amended to what was refused."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction

from billing_site.kernel.errors import Conflict, InvalidInput, NotFound
from metering.ingest import accept_events
from metering.models import EventConflict, UsageEvent
from metering.operations import create_meter
from metering.settling import amend_to_refused, effect_of_settling, keep_accepted
from tests.factories import an_event

NOON = datetime(2026, 7, 9, 12, tzinfo=UTC)
WHY: dict[str, Any] = {"actor": "alice", "reason": "asked the customer"}

pytestmark = pytest.mark.django_db


@pytest.fixture
def conflict() -> EventConflict:
    create_meter(key="actions", name="Actions", event_type="action.consumed", unit="action", actor="t", reason="t")
    accept_events(events=[an_event("cust_acme", "5", at=NOON, key="key-1")])
    accept_events(events=[an_event("cust_acme", "6.5", at=NOON, key="key-1")])
    return EventConflict.objects.get()


def test_keeping_changes_no_event(conflict: EventConflict) -> None:
    settled = keep_accepted(conflict_id=conflict.pk, **WHY)

    assert (settled.outcome, settled.settled_by, settled.reason) == ("kept", "alice", "asked the customer")
    assert keep_accepted(conflict_id=conflict.pk, actor="bob", reason="again").settled_by == "alice"
    assert UsageEvent.objects.count() == 1


def test_amending_puts_the_refused_content_in_place_at_the_accepted_time(conflict: EventConflict) -> None:
    (effect,) = effect_of_settling(conflict=conflict)

    settled = amend_to_refused(conflict_id=conflict.pk, **WHY)

    assert settled.outcome == "amended"
    assert (effect.before, effect.after, effect.change) == (5, Decimal("6.5"), Decimal("1.5"))
    replacement = UsageEvent.objects.get(idempotency_key="key-1~amended-1")
    assert (replacement.quantity, replacement.timestamp) == (Decimal("6.5"), NOON)
    assert amend_to_refused(conflict_id=conflict.pk, **WHY) == settled
    assert UsageEvent.objects.count() == 2


def test_what_is_settled_is_not_settled_otherwise(conflict: EventConflict) -> None:
    keep_accepted(conflict_id=conflict.pk, **WHY)

    with pytest.raises(Conflict, match="alice has settled this"):
        amend_to_refused(conflict_id=conflict.pk, **WHY)


def test_settling_needs_a_reason_and_a_contradiction(conflict: EventConflict) -> None:
    with pytest.raises(InvalidInput):
        keep_accepted(conflict_id=conflict.pk, actor="alice", reason=" ")
    with pytest.raises(NotFound):
        amend_to_refused(conflict_id=0, **WHY)


def test_a_settled_contradiction_that_is_sent_again_is_counted_and_stays_settled(conflict: EventConflict) -> None:
    keep_accepted(conflict_id=conflict.pk, **WHY)

    accept_events(events=[an_event("cust_acme", "6.5", at=NOON, key="key-1")])

    again = EventConflict.objects.get()
    assert (again.times_seen, again.outcome) == (2, "kept")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE metering_eventconflict SET settled_at = NULL, settled_by = '', outcome = '', reason = ''",
        "UPDATE metering_eventconflict SET outcome = 'amended'",
        "UPDATE metering_eventconflict SET reason = 'other'",
        "UPDATE metering_eventconflict SET times_seen = 0",
        "UPDATE metering_eventconflict SET refused = '{}'",
        "UPDATE metering_eventconflict SET accepted = NULL",
        "UPDATE metering_eventconflict SET event_number = event_number + 1",
        "DELETE FROM metering_eventconflict",
        "TRUNCATE metering_eventconflict",
    ],
)
def test_raw_sql_cannot_unsettle_change_or_remove_a_contradiction(conflict: EventConflict, statement: str) -> None:
    keep_accepted(conflict_id=conflict.pk, **WHY)

    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
