"""What may be asked about closed months: which are, which is next, and what became of each close."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from django.db.models import Count, QuerySet
from django.db.models.functions import TruncMonth

from billing_site.kernel.errors import NotFound
from billing_site.kernel.period import Period
from invoicing.closing.models import CheckSignOff, MonthClose
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.queries import books_open_from, days_booked

YEAR_FIRST, YEAR_LAST = 2000, 2199
# How a month stands: its books are closed, it is the next to close, it waits for one before it, it is not over.
MONTH_STATES = [(word, word.capitalize()) for word in ("closed", "to close", "waits", "running")]


@dataclass(frozen=True)
class Month:
    """A calendar month of the books, which are kept in UTC."""

    first_day: date

    @property
    def last_day(self) -> date:
        """Its last day."""
        return self.following - timedelta(days=1)

    @property
    def following(self) -> date:
        """The first day of the month after it."""
        return (self.first_day + timedelta(days=31)).replace(day=1)

    @property
    def span(self) -> Period:
        """It, as a span of time."""
        return Period(_midnight(self.first_day), _midnight(self.following))

    def __str__(self) -> str:
        return f"{self.first_day:%Y-%m}"


@dataclass(frozen=True)
class MonthState:
    """A month as a list shows it: how many entries are booked in it, by which close it is closed, and whether it is the next one."""

    month: Month
    entries: int
    close: MonthClose | None
    is_closed: bool
    is_next: bool
    is_over: bool

    @property
    def word(self) -> str:
        """Its state in a word or two."""
        if self.is_closed:
            return "closed"
        if not self.is_over:
            return "running"
        return "to close" if self.is_next else "waits"


def read_month(*, text: str) -> Month:
    """Read a month such as 2026-08; raises NotFound at `month`."""
    try:
        first_day = date.fromisoformat(f"{text}-01") if len(text) == 7 and text.isascii() else None
    except ValueError:
        first_day = None
    if first_day is None or not YEAR_FIRST <= first_day.year <= YEAR_LAST:
        raise NotFound(f"there is no month {text!r}: write it as 2026-08", field="month")
    return Month(first_day)


def month_of(*, moment: datetime) -> Month:
    """Return the month of the books that holds a moment."""
    return Month(moment.astimezone(UTC).date().replace(day=1))


def closes_in_force() -> "QuerySet[MonthClose]":
    """Return the closes of the months that are closed, newest month first."""
    return MonthClose.objects.filter(reopening=None).order_by("-month", "-id")


def closes_of(*, month: Month) -> "QuerySet[MonthClose]":
    """Return every close of a month, newest first."""
    return MonthClose.objects.filter(month=month.first_day).select_related("reopening").order_by("-id")


def close_in_force(*, month: Month) -> MonthClose | None:
    """Return the close by which a month is closed, or None where it is open, or was closed with a later one."""
    return closes_in_force().filter(month=month.first_day).first()


def next_to_close() -> Month | None:
    """Return the month that comes next: the one after the newest closed one, or that of the first entry; None without any entry."""
    if (opened := books_open_from()) is not None:
        return month_of(moment=opened)
    days = days_booked()
    return Month(days[0].replace(day=1)) if days else None


def months_to_close(*, at: datetime) -> list[Month]:
    """Return the months that are over and not closed, oldest first; two queries at most."""
    following, months = next_to_close(), []
    while following is not None and following.span.end <= at:
        months.append(following)
        following = Month(following.following)
    return months


def month_states(*, at: datetime) -> list[MonthState]:
    """Return the months from the first entry up to the present one, newest first."""
    days = days_booked()
    if days is None:
        return []
    month, months = Month(days[0].replace(day=1)), []
    while month.span.start <= at:
        months.append(month)
        month = Month(month.following)
    booked = JournalEntry.objects.annotate(month=TruncMonth("booked_at", tzinfo=UTC)).order_by()
    entries = {moment.date(): number for moment, number in booked.values("month").values_list("month", Count("id"))}
    closes = {close.month: close for close in closes_in_force()}
    opened, following = books_open_from(), next_to_close()
    return [
        MonthState(
            month=one,
            entries=entries.get(one.first_day, 0),
            close=closes.get(one.first_day),
            is_closed=opened is not None and one.span.end <= opened,
            is_next=one == following,
            is_over=one.span.end <= at,
        )
        for one in months[::-1]
    ]


def month_state(*, month: Month, at: datetime) -> MonthState:
    """Return how one month stands; raises NotFound where it lies before the first entry, or has not begun."""
    for state in month_states(at=at):
        if state.month == month:
            return state
    raise NotFound(f"there is nothing in the books of {month}", field="month")


def booked_later(*, month: Month) -> "QuerySet[JournalEntry]":
    """Return the entries that belong to a month and are booked in a later one, because it was closed."""
    span = month.span
    return JournalEntry.objects.filter(
        occurred_at__gte=span.start, occurred_at__lt=span.end, booked_at__gte=span.end
    ).order_by("id")


def sign_offs_of(*, month: Month) -> "QuerySet[CheckSignOff]":
    """Return what was signed off for the close of a month, in order."""
    return CheckSignOff.objects.filter(month=month.first_day).order_by("id")


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
