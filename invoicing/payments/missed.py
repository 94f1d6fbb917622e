"""Fetch the news that never came: Stripe keeps its events for thirty days, and gives up delivering one after three."""

from datetime import datetime, timedelta

from django.db import transaction
from psycopg.types.json import Jsonb

from billing_site.kernel.jobs import queue_each
from invoicing.payments.intake import JOB
from invoicing.payments.lookups import events_between
from invoicing.payments.models import StripeNotice
from invoicing.payments.news import EVENTS, THIN
from invoicing.payments.patience import QUEUE_PATIENCE
from invoicing.payments.remote import RemoteEvent

# An endpoint that was away for a weekend is found on Monday, and once more.
LOOK_BACK = timedelta(days=4)
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
    """Keep and queue the events of the last days that we listen to and that never came; returns how many.

    A notice that was fetched says that it was delivered 0 times. Raises GatewayUnavailable, GatewayRefused: what is kept by then stays. Call it outside of a
    transaction: it asks Stripe.
    """
    wanted = sorted(set(EVENTS) - set(THIN))
    fetched = 0
    for begin in range(0, len(wanted), TYPES_MAX):
        found: list[RemoteEvent] = []
        for event in events_between(start=at - LOOK_BACK, end=at - ON_ITS_WAY, types=wanted[begin : begin + TYPES_MAX]):
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
