"""The events of an invoice under one root: a Merkle tree over the events of each metered line, and one over these lines."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress

from billing_site.kernel.digest import canonical
from billing_site.kernel.errors import Conflict
from billing_site.kernel.merkle import root_of
from billing_site.kernel.period import Period, as_utc
from invoicing.core.events_behind import CountedSpan, EventsBehind, events_behind
from invoicing.invoices.consumers import consumer_of
from invoicing.invoices.models import Invoice, InvoiceLine, LineKind, UsageCorrection
from metering.archiving.absent import EventsArchived, purged_months_of
from metering.models import Meter
from metering.queries.roots import EventRoot, EventSpan, event_roots_for_billing

# So many events of invoices are hashed while their customers are locked: about a second.
HASHED_LOCKED_MAX = 200_000


def span_of_line(*, line: InvoiceLine, known_through: int, customer_key: str) -> EventSpan:
    """Return which events a metered line counts, known through a number."""
    return EventSpan(
        meter_key=line.meter_key,
        customer_id=customer_key,
        period=Period(as_utc(line.service_start), as_utc(line.service_end)),
        known_through=known_through,
    )


def set_event_roots(*, lines: Iterable[InvoiceLine]) -> None:
    """Give the charges for usage of drafts, of one or many, the roots of their events: one query for all of them.

    Raises ManyEventsToHash, Conflict where the events are not those of the windows that were rated, EventsArchived where
    they are in the archive only.
    """
    metered = [line for line in lines if line.kind == LineKind.CHARGE and line.meter_key]
    spans = [
        span_of_line(line=line, known_through=line.known_through, customer_key=consumer_of(line=line))
        for line in metered
    ]
    roots = checked_roots(spans=spans, counts=[line.event_count for line in metered])
    for line, root in zip(metered, roots, strict=True):
        line.events_root = root.root


def checked_roots(*, spans: Sequence[EventSpan], counts: Sequence[int]) -> list[EventRoot]:
    """Return the roots of spans whose windows hold `counts` events; raises as `set_event_roots` does."""
    roots = event_roots_for_billing(spans=spans, counts=counts, hashed_max=HASHED_LOCKED_MAX)
    for span, count, root in zip(spans, counts, roots, strict=True):
        if root.count != count:
            if months := purged_months_of(period=span.period):
                raise EventsArchived(months)
            raise Conflict(
                f"meter {span.meter_key} has {count} events in its windows, and {root.count} raw events: run manage.py verify",
                code="events_differ",
            )
    return roots


def root_over_lines(*, lines: Iterable[InvoiceLine]) -> str:
    """Return the root over the roots of an invoice's lines in the order of the document; empty where none has one.

    A leaf is the canonical JSON of {count, line, meter, root}: so it says which line counts how many events of which meter.
    """
    rooted = sorted((line for line in lines if line.events_root), key=lambda line: line.position)
    if not rooted:
        return ""
    return root_of(
        canonical({"line": line.position, "meter": line.meter_key, "count": line.event_count, "root": line.events_root})
        for line in rooted
    ).hex()


def events_of_lines(*, lines: Iterable[InvoiceLine]) -> EventsBehind:
    """Return how many events stand behind lines that were read with whose they are; one query where there are several.

    Lines may have events in common where customer, type of event and time are the same; they count the same ones where the
    rules of their meters are the same, too.
    """
    counting = [line for line in lines if line.event_count]
    keys = {line.meter_key for line in counting}
    # One meter needs no type or rule to be told from another.
    meters = Meter.objects.in_bulk(keys, field_name="key") if len(keys) > 1 else {}
    streams: dict[tuple[str, str], list[CountedSpan]] = {}
    for line in counting:
        start, end = as_utc(line.service_start), as_utc(line.service_end)
        event_type = rule = ""
        if meters:
            meter = meters[line.meter_key]
            event_type, rule = meter.event_type, meter.rule_of_events(since=start)
        span = CountedSpan(start, end, line.known_through, line.event_count, rule)
        streams.setdefault((consumer_of(line=line), event_type), []).append(span)
    return events_behind(streams=list(streams.values()))


def lacks_roots(*, lines: Iterable[InvoiceLine]) -> bool:
    """Say whether a draft charges for usage without saying of which events: it was made before there were roots."""
    return any(line.kind == LineKind.CHARGE and line.meter_key and not line.events_root for line in lines)


def drafts_lacking_roots(*, invoices: Collection[Invoice]) -> set[int]:
    """Return the numbers of those drafts for which `lacks_roots` says so: one query, none for none."""
    if not invoices:
        return set()
    charges = InvoiceLine.objects.filter(invoice__in=invoices, kind=LineKind.CHARGE, events_root="")
    return set(charges.exclude(meter_key="").values_list("invoice_id", flat=True))


def set_root_of_correction(*, correction: UsageCorrection, customer_key: str) -> None:
    """Give a correction of a charge the root of the events as they are known now; none where some are in the archive only.

    Late usage of purged months is settled from windows: there is nothing to hash.
    """
    span = span_of_line(line=correction.original, known_through=correction.known_through, customer_key=customer_key)
    with suppress(EventsArchived):
        [root] = checked_roots(spans=[span], counts=[correction.event_count])
        correction.events_root = root.root
