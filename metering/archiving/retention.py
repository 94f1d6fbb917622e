"""Which months of events may leave the database, and why the others may not (S2-033)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Count, Max, Min, Sum
from django.utils.module_loading import import_string

from billing_site.kernel.period import Period
from metering.archiving.files import Contents, fault_of_file
from metering.counting import HOUR_OF_EVENT
from metering.models import EventArchive, KeyHorizon, Meter
from metering.partitions import Month, months

# Raw events stay at least so long whatever the settings say: a repetition is compared with them (S0-105).
DEDUP_DAYS = 400
# An event may be on the line of a period that ends so long after it, before anybody can dispute it.
PERIOD_DAYS = 31

# Asked with the span of time in which a month's events happened, and the present: sentences why they are needed.
Hold = Callable[..., list[str]]


@dataclass(frozen=True)
class MonthOfEvents:
    """One month of receipt in the database: its size, and the reasons why it stays; none, and it may go."""

    month: Month
    event_count: int
    archived_count: int
    windows: int
    first_number: int
    last_number: int
    reasons: tuple[str, ...]

    @property
    def name(self) -> str:
        """The month as people write it: 2025-03."""
        return f"{self.month.start:%Y-%m}"

    @property
    def may_go(self) -> bool:
        """Say whether nothing keeps it."""
        return not self.reasons


@dataclass(frozen=True)
class Retention:
    """What would be purged and why not, with the oldest moment from which raw events are needed in any case."""

    needed_from: datetime
    months: tuple[MonthOfEvents, ...]

    @property
    def ready(self) -> tuple[MonthOfEvents, ...]:
        """The months that may go."""
        return tuple(month for month in self.months if month.may_go)


def retention(*, at: datetime) -> Retention:
    """Look at every month that has events; writes nothing. Files are read only of months that nothing else keeps."""
    horizon = KeyHorizon.objects.first()
    found = [_look_at(month, horizon=horizon, at=at) for month in months() if _holds_events(month)]
    return Retention(needed_from=needed_from(at=at), months=tuple(found))


def needed_from(*, at: datetime) -> datetime:
    """Return the first moment of receipt from which events stay: the earliest of retention, deduplication and dispute."""
    start = at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    since = start.year * 12 + start.month - 1 - settings.RETENTION_MONTHS
    return min(
        start.replace(year=since // 12, month=since % 12 + 1),
        at - timedelta(days=DEDUP_DAYS),
        at - timedelta(days=settings.DISPUTE_DAYS + PERIOD_DAYS),
    )


def look_at(*, month: Month, at: datetime) -> MonthOfEvents:
    """Look at one month again."""
    return _look_at(month, horizon=KeyHorizon.objects.first(), at=at)


def _look_at(month: Month, *, horizon: KeyHorizon | None, at: datetime) -> MonthOfEvents:
    days = EventArchive.objects.filter(day__gte=month.start.date(), day__lt=month.end.date())
    kept = days.aggregate(
        events=Sum("event_count"),
        first=Min("first_number"),
        last=Max("last_number"),
        first_at=Min("first_at"),
        last_at=Max("last_at"),
        number_of=Count("id"),
    )
    reasons = list(_too_young(month, horizon=horizon, at=at, last_at=kept["last_at"]))
    count = windows = 0
    if reasons:
        count = max(_estimated_events(month), kept["events"] or 0)
    else:
        count, first, last = _events(month)
        if count != (kept["events"] or 0) or (first, last) != (kept["first"], kept["last"]):
            reasons.append(f"{count} events, of which {kept['events'] or 0} are archived")
        else:
            reasons += _not_settled(first, last)
            span = Period(kept["first_at"].astimezone(UTC), kept["last_at"].astimezone(UTC) + timedelta(microseconds=1))
            reasons += [reason for hold in _holds() for reason in hold(span=span, at=at)]
            reasons += [] if reasons else _faults_of_files(month)
            windows = _windows(month)
    return MonthOfEvents(
        month=month,
        event_count=count,
        archived_count=kept["events"] or 0,
        windows=windows,
        first_number=kept["first"] or 0,
        last_number=kept["last"] or 0,
        reasons=tuple(reasons),
    )


def _too_young(month: Month, *, horizon: KeyHorizon | None, at: datetime, last_at: datetime | None) -> list[str]:
    if horizon is None or month.end > horizon.open_from:
        return ["it is open"]
    reasons = []
    if month.end > horizon.consolidated_before:
        reasons.append('its keys are not consolidated yet: the nightly job "Keep months of events" does that')
    limit = needed_from(at=at)
    if month.end > limit:
        reasons.append(
            f"events from {limit:%Y-%m-%d} on are needed ({settings.RETENTION_MONTHS} months of retention, "
            f"{DEDUP_DAYS} days of keys, {settings.DISPUTE_DAYS} days of dispute)"
        )
    elif last_at is not None and last_at > at - timedelta(days=settings.DISPUTE_DAYS + PERIOD_DAYS):
        reasons.append(f"one of its events happened on {last_at:%Y-%m-%d} and can still be disputed")
    return reasons


def _not_settled(first: int, last: int) -> list[str]:
    """Return what of the month is still on its way into windows and lists."""
    reasons = [
        f"the meter {key} has counted up to number {cursor} only"
        for key, cursor in Meter.objects.filter(rolled_up_to__lt=last)
        .order_by("key")
        .values_list("key", "rolled_up_to")
    ]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT (SELECT COALESCE(max(listed_up_to), 0) < %(last)s FROM metering_rollupprogress),
                   (SELECT count(*) FROM metering_eventcancellation c
                    WHERE c.event_number BETWEEN %(first)s AND %(last)s
                      AND c.number > (SELECT min(rolled_up_to) FROM metering_meter)),
                   (SELECT count(*) FROM metering_meterbackdating b JOIN metering_meter m ON m.id = b.meter_id
                    WHERE b.number > m.rolled_up_to),
                   (SELECT count(*) FROM metering_eventconflict f
                    WHERE f.event_number BETWEEN %(first)s AND %(last)s AND f.settled_at IS NULL)
            """,
            {"first": first, "last": last},
        )
        unlisted, cancellations, backdatings, conflicts = cursor.fetchone()
    if unlisted:
        reasons.append("the list of unapplied events does not reach it yet")
    if cancellations or backdatings:
        reasons.append(f"{cancellations + backdatings} corrections are not in the windows yet")
    if conflicts:
        reasons.append(f"{conflicts} contradictions of its events are not settled")
    return reasons


def _faults_of_files(month: Month) -> list[str]:
    """Read the month's files to their ends."""
    return [
        f"the archive of {row.day} is not what was recorded: {fault}"
        for row in EventArchive.objects.filter(day__gte=month.start.date(), day__lt=month.end.date()).order_by("day")
        if (fault := fault_of_file(name=row.file_name, contents=contents_of(row=row)))
    ]


def contents_of(*, row: EventArchive) -> Contents:
    """Return what a day's file must hold."""
    return Contents(row.file_digest, row.content_digest, row.size_bytes, row.event_count)


def _holds() -> list[Hold]:
    return [import_string(name) for name in settings.RETENTION_HOLDS]


# The months are asked for through their table: one that goes at the same moment is empty then, not missing.
_OF_MONTH = "metering_usageevent e WHERE e.received_at >= %(start)s AND e.received_at < %(end)s"


def _holds_events(month: Month) -> bool:
    return bool(_asked(f"SELECT EXISTS (SELECT FROM {_OF_MONTH})", month)[0])


def _events(month: Month) -> tuple[int, int, int]:
    count, first, last = _asked(f"SELECT count(*), min(e.id), max(e.id) FROM {_OF_MONTH}", month)
    return int(count), first, last


def _estimated_events(month: Month) -> int:
    """Return about how many events a month has: of those that stay anyway nothing is counted."""
    (count,) = _asked(
        "SELECT COALESCE(max(reltuples), 0)::bigint FROM pg_class WHERE oid = to_regclass(%(table)s)", month
    )
    return max(int(count), 0)


def _windows(month: Month) -> int:
    (count,) = _asked(
        f"""
        SELECT count(DISTINCT (e.customer_id, m.id, {HOUR_OF_EVENT}))
        FROM (SELECT * FROM {_OF_MONTH}) AS e JOIN metering_meter m ON m.event_type = e.event_type
        """,
        month,
    )
    return int(count)


def _asked(query: str, month: Month) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(query, {"start": month.start, "end": month.end, "table": month.table})
        row: tuple[Any, ...] = cursor.fetchone()
        return row
