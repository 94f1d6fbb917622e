"""The usage behind one line of an invoice, as it was known when it was billed: hours and single events."""

from dataclasses import dataclass
from datetime import UTC, datetime

from billing_site.kernel.period import Period
from invoicing.invoices.consumers import consumer_of
from invoicing.invoices.models import InvoiceLine
from metering.queries import KnownEvent, KnownWindow, events_as_known, windows_as_known

EVENTS_PER_PAGE = 50


@dataclass(frozen=True)
class LineUsage:
    """A page of the events of a line, and its hours where they were asked for; `next_page` is what asks for the events after these, "" behind the last."""

    windows: tuple[KnownWindow, ...]
    events: tuple[KnownEvent, ...]
    next_page: str


def usage_of_line(*, line: InvoiceLine, after: str = "", with_windows: bool = True) -> LineUsage:
    """Return the hours that a metered line counts and a page of its events, in the order of their time.

    `after` is the `next_page` of the page before ("<RFC 3339>/<number>"); anything else asks for the first. Hours are counted again from the raw
    events. Raises EventsArchived where these were purged.
    """
    assert line.meter_key, "a line without a meter has no usage"
    known = {
        "meter_key": line.meter_key,
        "customer_id": consumer_of(line=line),
        "period": Period(line.service_start.astimezone(UTC), line.service_end.astimezone(UTC)),
        "known_through": line.known_through,
    }
    windows = windows_as_known(**known) if with_windows else []  # type: ignore[arg-type]
    events = events_as_known(**known, after=_after(after), limit=EVENTS_PER_PAGE)  # type: ignore[arg-type]
    last = events[-1] if len(events) == EVENTS_PER_PAGE else None
    next_page = f"{last.timestamp.astimezone(UTC).isoformat()}/{last.number}" if last else ""
    return LineUsage(tuple(windows), tuple(events), next_page)


def _after(text: str) -> tuple[datetime, int] | None:
    moment, _, number = text.rpartition("/")
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        return None
    if at.utcoffset() is None or not number.isdecimal() or len(number) > 18:
        return None
    return at, int(number)
