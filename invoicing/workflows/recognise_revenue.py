"""Recognise revenue by service period: what of fees in advance was served by the end of a month is revenue of that month (IFRS 15.31, 15.35).

The invoice of a period settles what was invoiced for it in advance when the period is over, a year later perhaps. Until then each month that ends
counts what was served by then, from the beginning of the service, and the next month begins by taking that back: so the books of every month end
say what was earned by then, issuing invoices needs to know nothing of it, and what changes meanwhile (a cancellation, what a credit note gives back of it) is never counted on.
"""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Min

from billing_site.kernel.bulk import insert_rows
from billing_site.kernel.money import round_money, total
from billing_site.kernel.words import counted
from invoicing.closing.queries import Month, month_of
from invoicing.core.posting import postings_for_recognition, postings_for_reversal
from invoicing.invoices.models import InvoiceLine
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.operations import NewEntry, post_entries
from invoicing.ledger.queries import books_open_from, entities_booked
from invoicing.recognition.models import RecognisedRevenue
from invoicing.reports.deferred import Obligation, fees_in_advance
from invoicing.subscriptions.agreements import IN_ADVANCE

RECOGNITION_LOCK = 7_403
# A month that ended this long ago is looked at again each night: what was booked into it late is found by its close.
LOOKED_AT_AGAIN = timedelta(days=40)


def recognise_due(*, at: datetime) -> int:
    """Recognise every month that is over and open: each once, those that ended lately again; returns how many entries were written."""
    done = {*RecognisedRevenue.objects.values_list("month", flat=True).distinct()}
    return sum(
        len(recognise_month(month=month, at=at))
        for month in _open_months(at=at)
        if month.first_day not in done or at - month.span.end < LOOKED_AT_AGAIN
    )


def recognise_month(*, month: Month, at: datetime) -> list[JournalEntry]:
    """Book what was served by the end of a month, where that is not in the books yet; returns the entries, none where nothing is missing.

    For each legal entity and currency one entry at the last moment of the month, and one that takes it back as the next begins. Nothing
    of a month that is not over, or closed: it would count in another.
    """
    if month.span.end > at:
        return []
    with transaction.atomic():
        lock_recognition()
        # Asked after the lock: a close that was waited for has closed it.
        opened = books_open_from()
        if opened is not None and month.span.end <= opened:
            return []
        return [entry for entity in entities_booked() for entry in _recognised(month, entity)]


def lock_recognition() -> None:
    """Let nobody else recognise revenue until the end of the transaction; whoever locks the books, too, locks this first."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [RECOGNITION_LOCK])


def _recognised(month: Month, entity: str) -> Iterator[JournalEntry]:
    known: dict[int, list[RecognisedRevenue]] = defaultdict(list)
    for row in RecognisedRevenue.objects.filter(month=month.first_day, legal_entity__key=entity).order_by("id"):
        known[row.subscription_id].append(row)
    held = {
        one.subscription_id: one
        for one in fees_in_advance(before=month.span.end, entity=entity)
        if one.subscription_id is not None
    }
    missing: dict[str, list[RecognisedRevenue]] = defaultdict(list)
    for number in sorted({*known, *held}):
        found = _missing(month, entity, number, held.get(number), known[number])
        if found is not None:
            missing[found.currency].append(found)
    for currency, rows in sorted(missing.items()):
        yield _booked(month, entity, currency, rows)


def _missing(
    month: Month, entity: str, number: int, held: Obligation | None, known: list[RecognisedRevenue]
) -> RecognisedRevenue | None:
    """Return what is to be added to what is known of a subscription and month; None where nothing is."""
    service = held.service if held is not None else None
    if service is None and not known:
        # Nothing says for which days it was taken: it is revenue with the invoice that settles it.
        return None
    currency = held.amount.currency.code if held is not None else known[-1].currency
    whole = held.amount if held is not None and service is not None else total((), currency)
    served = held.served_by(month.last_day) if held is not None else whole
    missing = served - total((round_money(row.amount.amount, currency) for row in known), currency)
    if not missing.amount:
        return None
    start, end = service or (known[-1].service_start, known[-1].service_end)
    return RecognisedRevenue(
        month=month.first_day,
        legal_entity_id=entity,
        subscription_id=number,
        service_start=start,
        service_end=end,
        currency=currency,
        held=whole,
        amount=missing,
    )


def _booked(month: Month, entity: str, currency: str, rows: list[RecognisedRevenue]) -> JournalEntry:
    """Write the entry of a month with its rows, and the one that takes it back as the next month begins."""
    stem = f"{month}/{entity}/{currency}/"
    before = JournalEntry.objects.filter(kind=JournalEntry.Kind.RECOGNITION, reference__startswith=stem).count()
    amount = total((row.amount for row in rows), currency)
    postings = postings_for_recognition(amount=amount)
    reference = f"{stem}{before + 1}"
    words = f"Served by the end of {month}, of fees in advance of {len(rows):,} {counted('subscription', len(rows))}"
    entry, _ = post_entries(
        entries=[
            NewEntry(
                JournalEntry.Kind.RECOGNITION.value,
                reference,
                postings,
                words,
                month.span.end - timedelta(microseconds=1),
                entity,
            ),
            NewEntry(
                JournalEntry.Kind.RECOGNITION_END.value,
                reference,
                postings_for_reversal(postings=postings),
                f"Counted on in the next month: {words}",
                month.span.end,
                entity,
            ),
        ]
    )
    for row in rows:
        row.entry = entry
    insert_rows(rows)
    return entry


def _open_months(*, at: datetime) -> Iterator[Month]:
    """Yield the months that are over and open, from the first in which something was invoiced in advance."""
    first = InvoiceLine.objects.filter(adjustment__in=IN_ADVANCE, invoice__issued_at__isnull=False).aggregate(
        first=Min("invoice__issued_at")
    )["first"]
    if first is None:
        return
    opened = books_open_from()
    month = month_of(moment=first if opened is None else max(first, opened))
    while month.span.end <= at:
        yield month
        month = Month(month.following)
