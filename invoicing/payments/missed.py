"""Fetch the news that never came: Stripe keeps its events for thirty days, and gives up delivering one after three."""

from datetime import datetime, timedelta

from django.db import transaction
from psycopg.types.json import Jsonb

from billing_site.kernel.jobs import queue_each
from invoicing.payments.intake import JOB
from invoicing.payments.look import looked_to, note_looked, steps_between
from invoicing.payments.lookups import events_between
from invoicing.payments.models import StripeNotice
from invoicing.payments.news import EVENTS, THIN
from invoicing.payments.patience import QUEUE_PATIENCE
from invoicing.payments.remote import RemoteEvent

# Stripe's thirty days, less one for what is being looked at.
LOOK_BACK_MAX = timedelta(days=29)
# Each look begins a little before the last one ended: a list may show late what happened just then.
OVERLAP = timedelta(days=1)
STEP = timedelta(days=1)
# The name of the look.
EVENTS_LIST = "events"
# What is younger may still be on its way.
ON_ITS_WAY = timedelta(hours=1)
# Of one question to Stripe.
TYPES_MAX = 20
BATCH = 200
KEEP = """
    INSERT INTO invoicing_stripenotice
        (event_id, event_type, object_id, body, received_at, next_attempt_at, delivery_count, outcome, attempt_count, last_error)
    VALUES (%s, %s, %s, %s, %s, %s, 0, '', 0, '')
    ON CONFLICT (event_id) DO NOTHING
    RETURNING id
"""


def fetch_missed_news(*, at: datetime) -> int:
    """Keep and queue the events since the last look that we listen to and that never came; returns how many.

    The oldest first, a day at a time, so that a look that is broken off goes on from there, and one after an absence misses nothing that Stripe still has.
    A notice that was fetched says that it was delivered 0 times. Raises GatewayUnavailable, GatewayRefused: what is kept by then stays. Call it outside of a
    transaction: it asks Stripe.
    """
    known = looked_to(name=EVENTS_LIST)
    oldest = at - LOOK_BACK_MAX
    start = max(known - OVERLAP, oldest) if known else oldest
    fetched = 0
    for begin, to in steps_between(start=start, end=at - ON_ITS_WAY, length=STEP):
        fetched += _fetch(begin, to, at=at)
        note_looked(name=EVENTS_LIST, to=to)
    return fetched


def _fetch(start: datetime, end: datetime, *, at: datetime) -> int:
    wanted = sorted(set(EVENTS) - set(THIN))
    fetched = 0
    for begin in range(0, len(wanted), TYPES_MAX):
        found: list[RemoteEvent] = []
        for event in events_between(start=start, end=end, types=wanted[begin : begin + TYPES_MAX]):
            found.append(event)
            if len(found) == BATCH:
                fetched += _keep(found, at=at)
                found = []
        fetched += _keep(found, at=at)
    return fetched


@transaction.atomic(durable=True)
def _keep(events: list[RemoteEvent], *, at: datetime) -> int:
    known = set(StripeNotice.objects.filter(event_id__in=[one.id for one in events]).values_list("event_id", flat=True))
    kept = []
    for one in events:
        if one.id not in known:
            told = [one.id, one.type, one.object_id, Jsonb(one.body), at, at + QUEUE_PATIENCE]
            # One that comes at this moment after all is that one.
            kept += [notice.pk for notice in StripeNotice.objects.raw(KEEP, told)]
    queue_each(JOB, kept)
    return len(kept)
