"""What cancelling or amending one event would mean in money: corrected, billed, and taken back."""

from collections.abc import Callable
from datetime import UTC, datetime

from django.db import transaction

from billing_site.kernel.period import HOUR, Period, hour_of
from invoicing.workflows.backfill_figures import MoneyEffect
from invoicing.workflows.money_state import money_between, state_of
from metering.models import EventCancellation, Meter, UsageEvent
from metering.partitions import open_present_month
from metering.rollup import roll_up


def money_of_correcting(
    *, customer_id: str, correct: Callable[[], EventCancellation], at: datetime
) -> list[MoneyEffect]:
    """Return each amount of the customer that a correction would change at a moment; keeps nothing (S4-004).

    Issued lines stay as they are: their effect is what the late-event desk would show. Raises what `correct` raises.
    """
    # The month first: beneath the ingest lock, which a correction takes, two would wait for each other.
    open_present_month()
    roll_up()
    with transaction.atomic():
        with transaction.atomic():
            done = correct()
            numbers = [number for number in (done.event_number, done.replacement_number) if number]
            touched = list(UsageEvent.objects.filter(pk__in=numbers).values_list("event_type", "timestamp"))
            hours = sorted(hour_of(moment.astimezone(UTC)) for _, moment in touched)
            spans = {customer_id: Period(hours[0], hours[-1] + HOUR)}
            types = {name for name, _ in touched}
            meters = list(Meter.objects.filter(event_type__in=types).order_by("key").values_list("key", flat=True))
            roll_up()
            after = state_of(spans=spans, meters=meters, at=at)
            transaction.set_rollback(True)
        before = state_of(spans=spans, meters=meters, at=at)
        transaction.set_rollback(True)
    return money_between(customer_id=customer_id, before=before, after=after)
