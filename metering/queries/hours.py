"""Hours of a meter and customer, from windows and raw events: what usage, billing and proof combine to quantities."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection

from billing_site.kernel.period import Period, hour_of
from metering.archiving.absent import (
    ARCHIVED_CANCELLED,
    ARCHIVED_OPENING,
    ARCHIVED_SPANS,
    UNSETTLED,
    EventsArchived,
    purged_months_of,
)
from metering.core.aggregation import Hour
from metering.core.windows import cut_at_hours
from metering.counting import (
    COUNTED_TEXT,
    COUNTED_VALUE,
    GROUPING,
    HOUR_OF_EVENT,
    IS_COUNTED,
    grouping_by,
    hours_of_events,
    known_through,
    not_cancelled,
)
from metering.models import Meter
from metering.queries.counted import Counted
from metering.queries.windows import Moment, counted_in_windows

# The greatest number there is: everything that is accepted.
_EVERYTHING = str(2**63 - 1)
_EVENTS = "metering_usageevent e JOIN metering_meter m ON m.event_type = e.event_type"
_OF_CUSTOMER = "m.id = %(meter)s AND e.customer_id = %(customer)s"
_SPANS = (
    "unnest(%(span_starts)s::timestamptz[], %(span_ends)s::timestamptz[]) AS span(first_moment, end_moment) CROSS JOIN"
)
_IN_SPAN = f"{_OF_CUSTOMER} AND e.timestamp >= span.first_moment AND e.timestamp < span.end_moment"
_START = f"greatest({HOUR_OF_EVENT}, %(start)s)"
# With the hours that are read raw because their windows are behind. Arrays, so that the planner expects few of them.
_STALE = "ARRAY(SELECT hour FROM stale)"
_STALE_WITHIN = """ARRAY(
    SELECT hour FROM stale WHERE hour >= %(whole_start)s::timestamptz AND hour < %(whole_end)s::timestamptz
)"""
# Bounds that the planner sees: from their hours alone it would read all events of the customer, and compare.
_IN_STALE = f"""
    {_OF_CUSTOMER} AND e.timestamp >= given.hour AND e.timestamp < given.hour + interval '1 hour'
    AND e.timestamp >= (SELECT min(hour) FROM unnest({{0}}) AS hour)
    AND e.timestamp < (SELECT max(hour) + interval '1 hour' FROM unnest({{0}}) AS hour)
"""
_ARCHIVED_STALE = f"""
    SELECT FROM unnest({_STALE}) AS given(hour) JOIN metering_usagewindow w
        ON w.meter_id = %(meter)s AND w.customer_id = %(customer)s AND w.start = given.hour AND w.archived_count > 0
    WHERE given.hour < %(end)s AND (given.hour > %(start)s::timestamptz - interval '1 hour' OR %(carries)s)
"""
# Billing trusts its windows: they stand where the cursor stands.
_BACKDATED = """
    FROM metering_meterbackdating b JOIN metering_meter m ON m.id = b.meter_id
    WHERE m.id = %(meter)s AND b.number > m.rolled_up_to ORDER BY b.number
"""
_NOTHING_STALE = "SELECT NULL::timestamptz AS hour WHERE FALSE"
_BILLED = known_through("m.rolled_up_to")
# Whether there may be hours of a customer whose windows are behind; cheaper than which, months of events unread.
_PERHAPS_STALE = [
    """SELECT FROM metering_eventcancellation c JOIN metering_meter m ON c.number > m.rolled_up_to
       WHERE m.id = %(meter)s AND c.customer_id = %(customer)s""",
    f"SELECT {_BACKDATED}",
]


class _Behind(Exception):
    """Windows of the period are, or may be, behind what was corrected since."""


def counted_as_known(*, meter: Meter, customer_id: str, period: Period, through: int) -> Counted:
    """Count the raw events of a period as they were known through a number; reads no window."""
    known = known_through("%(through)s")
    opening = f"""
        SELECT DISTINCT ON (grouping) grouping, at, last_value FROM (
            SELECT {GROUPING} AS grouping, e.timestamp AS at, e.id AS number, {COUNTED_VALUE} AS last_value
            FROM {_EVENTS} WHERE {_OF_CUSTOMER} AND e.timestamp < %(start)s AND {known}
        ) AS earlier ORDER BY grouping, at DESC, number DESC
    """
    return _read(
        meter,
        customer_id,
        period,
        parts=[_raw_hours(meter, f"{_IN_SPAN} AND {known}", source=_SPANS)],
        values=[_raw_values(f"{_IN_SPAN} AND {known}", source=_SPANS)],
        opening=opening,
        spans=[period],
        absent=[ARCHIVED_SPANS, ARCHIVED_CANCELLED, ARCHIVED_OPENING],
        through=through,
    )


def counted_by_property(*, meter: Meter, customer_id: str, period: Period, name: str) -> Counted:
    """Count the raw events of a period by a property, or the namespace; everything accepted so far is included.

    A grouping is [the meter's own grouping, the property] as JSON text: dimensions stay apart within a group.
    """
    grouping = f"jsonb_build_array({GROUPING}, {grouping_by('%(name)s')})::text"
    counts = f"{IS_COUNTED} AND {not_cancelled(_EVERYTHING)}"
    condition = f"{_IN_SPAN} AND {counts}"
    opening = f"""
        SELECT DISTINCT ON (grouping) grouping, at, last_value FROM (
            SELECT {grouping} AS grouping, e.timestamp AS at, e.id AS number, {COUNTED_VALUE} AS last_value
            FROM {_EVENTS} WHERE {_OF_CUSTOMER} AND e.timestamp < %(start)s AND {counts}
        ) AS earlier ORDER BY grouping, at DESC, number DESC
    """
    return _read(
        meter,
        customer_id,
        period,
        parts=[_raw_hours(meter, condition, source=_SPANS, grouping=grouping)],
        values=[_raw_values(condition, source=_SPANS, grouping=grouping)],
        opening=opening,
        spans=[period],
        absent=[ARCHIVED_SPANS, ARCHIVED_OPENING],
        parameters={"name": name},
    )


def counted_for_billing(*, spans: Sequence[tuple[Meter, str, Period]]) -> list[Counted]:
    """Count periods of meters and customers up to each meter's cursor: from windows, and the partial hours at their edges from events.

    What windows alone tell is read in one statement for all.
    """
    told = [place for place, (meter, _, period) in enumerate(spans) if _windows_tell(meter, period)]
    by_place = dict(zip(told, counted_in_windows(spans=[spans[place] for place in told]), strict=True))
    return [
        by_place[place]
        if place in by_place
        else _mixed(meter, customer, period, counts=_BILLED, stale=_NOTHING_STALE, with_tail=False)
        for place, (meter, customer, period) in enumerate(spans)
    ]


def _windows_tell(meter: Meter, period: Period) -> bool:
    """Say whether the windows of a period alone tell its quantity: its bounds cut no hour, and neither values nor levels are asked for."""
    return meter.aggregation not in ("unique_count", "time_weighted_sum") and not cut_at_hours(period=period).edges


def counted_now(*, meter: Meter, customer_id: str, period: Period) -> Counted:
    """Count everything accepted so far: windows, the events that are in none yet, and raw hours where windows are stale.

    An hour is stale where one of its events was cancelled since, or came into effect by an earlier effective date;
    for a time-weighted sum also where it has new events. One statement finds them and reads them: an amendment, of
    which the old event is in a window and the new one in none, is seen as a whole or not at all. Hours are stale for
    seconds only, and to plan that statement takes longer than to execute it: the first try goes without, and tells.
    """
    counts = f"{IS_COUNTED} AND {not_cancelled(_EVERYTHING)}"
    if meter.aggregation == "time_weighted_sum":
        stale = _stale_hours(with_new_events=True)
        return _mixed(meter, customer_id, period, counts=counts, stale=stale, with_tail=False)
    try:
        return _mixed(
            meter, customer_id, period, counts=counts, stale=_NOTHING_STALE, with_tail=True, behind=_PERHAPS_STALE
        )
    except _Behind:
        stale = _stale_hours(with_new_events=False)
        return _mixed(meter, customer_id, period, counts=counts, stale=stale, with_tail=True)


def _mixed(
    meter: Meter,
    customer_id: str,
    period: Period,
    *,
    counts: str,
    stale: str,
    with_tail: bool,
    behind: Sequence[str] = (),
) -> Counted:
    cut = cut_at_hours(period=period)
    whole = cut.whole
    parts, values = [], []
    for place in range(len(cut.edges)):
        edge = (
            f"{_OF_CUSTOMER} AND e.timestamp >= %(edge_{place}_start)s AND e.timestamp < %(edge_{place}_end)s"
            f" AND {counts}"
        )
        parts.append(_raw_hours(meter, edge))
        values.append(_raw_values(edge))
    if whole is not None and stale != _NOTHING_STALE:
        in_stale = f"{_IN_STALE.format(_STALE_WITHIN)} AND {counts}"
        source = f"unnest({_STALE_WITHIN}) AS given(hour) CROSS JOIN"
        parts.append(_raw_hours(meter, in_stale, source=source))
        values.append(_raw_values(in_stale, source=source))
    if whole is not None:
        stored = (
            "w.meter_id = %(meter)s AND w.customer_id = %(customer)s AND w.start >= %(whole_start)s"
            f" AND w.start < %(whole_end)s AND w.start <> ALL({_STALE})"
        )
        parts.append(
            f"""
            SELECT 'hour', w.start, w.grouping, w.value, w.event_count, w.first_at, w.last_at, w.last_value, NULL::uuid
            FROM metering_usagewindow w WHERE {stored} AND w.event_count > 0
            """
        )
        values.append(
            f"""
            SELECT 'value', w.start, w.grouping, NULL, NULL, NULL, NULL, NULL, w.value_key
            FROM metering_uniquevalue w WHERE {stored}
            """
        )
    if whole is not None and with_tail:
        tail = (
            f"{_OF_CUSTOMER} AND e.id > %(cursor_then)s AND e.id > m.rolled_up_to AND {counts}"
            " AND e.timestamp >= %(whole_start)s AND e.timestamp < %(whole_end)s"
            f" AND {HOUR_OF_EVENT} <> ALL({_STALE})"
        )
        parts.append(_raw_hours(meter, tail, kind="tail"))
        values.append(_raw_values(tail))
    return _read(
        meter,
        customer_id,
        period,
        stale=stale,
        parts=parts,
        values=values,
        opening=_opening_levels(counts),
        spans=list(cut.edges),
        absent=[ARCHIVED_SPANS, _ARCHIVED_STALE, UNSETTLED],
        behind=behind,
        parameters={
            **{f"edge_{place}_start": edge.start for place, edge in enumerate(cut.edges)},
            **{f"edge_{place}_end": edge.end for place, edge in enumerate(cut.edges)},
            "whole_start": whole.start if whole else None,
            "whole_end": whole.end if whole else None,
            "opening_hour": hour_of(period.start),
            # The cursor only grows, so this changes nothing in the answer; it tells the planner how few events follow.
            "cursor_then": meter.rolled_up_to,
        },
    )


def _opening_levels(counts: str) -> str:
    """Return SQL for the level of each grouping at the start of the period: of windows, stale hours, the hour it cuts."""
    earlier = "ARRAY(SELECT hour FROM stale WHERE hour < %(opening_hour)s)"
    raw = f"SELECT {GROUPING}, e.timestamp, e.id, {COUNTED_VALUE}"
    return f"""
        SELECT DISTINCT ON (grouping) grouping, at, last_value FROM (
            (SELECT DISTINCT ON (w.grouping) w.grouping, w.last_at AS at, 0::bigint AS number, w.last_value
             FROM metering_usagewindow w
             WHERE w.meter_id = %(meter)s AND w.customer_id = %(customer)s AND w.start < %(opening_hour)s
               AND w.event_count > 0 AND w.start <> ALL({_STALE})
             ORDER BY w.grouping, w.start DESC)
            UNION ALL
            {raw} FROM {_EVENTS}
            WHERE {_OF_CUSTOMER} AND {counts} AND e.timestamp >= %(opening_hour)s AND e.timestamp < %(start)s
            UNION ALL
            {raw} FROM unnest({earlier}) AS given(hour) CROSS JOIN {_EVENTS}
            WHERE {_IN_STALE.format(earlier)} AND {counts}
        ) AS earlier ORDER BY grouping, at DESC, number DESC
    """


def _stale_hours(*, with_new_events: bool) -> str:
    """Return SQL for the hours of a customer whose windows are behind; a window never waits for a customer's new hour."""
    new_events = f"""
        UNION SELECT {HOUR_OF_EVENT} FROM {_EVENTS}
        WHERE {_OF_CUSTOMER} AND e.id > %(cursor_then)s AND e.id > m.rolled_up_to
    """
    return f"""
        SELECT {HOUR_OF_EVENT} AS hour
        FROM metering_eventcancellation c JOIN metering_usageevent e ON e.id = c.event_number
        JOIN metering_meter m ON m.event_type = e.event_type
        WHERE {_OF_CUSTOMER} AND c.customer_id = %(customer)s
          AND c.number > m.rolled_up_to AND e.id <= m.rolled_up_to
        UNION SELECT {HOUR_OF_EVENT}
        FROM unnest(
            ARRAY(SELECT b.effective_from {_BACKDATED}), ARRAY(SELECT b.effective_before {_BACKDATED})
        ) AS moved(since, before) CROSS JOIN {_EVENTS}
        WHERE {_OF_CUSTOMER} AND e.timestamp >= moved.since AND e.timestamp < moved.before AND e.id <= m.rolled_up_to
          AND e.timestamp >= (SELECT min(since) FROM unnest(ARRAY(SELECT b.effective_from {_BACKDATED})) AS since)
          AND e.timestamp < (SELECT max(before) FROM unnest(ARRAY(SELECT b.effective_before {_BACKDATED})) AS before)
        {new_events if with_new_events else ""}
    """


def _raw_hours(meter: Meter, condition: str, *, source: str = "", grouping: str = GROUPING, kind: str = "hour") -> str:
    hours = hours_of_events(
        aggregation=meter.aggregation, condition=condition, grouping=grouping, start=_START, source=source
    )
    return f"""
        SELECT '{kind}' AS kind, start, grouping, value, event_count, first_at, last_at, last_value, NULL::uuid AS value_key
        FROM ({hours}) AS raw
    """


def _raw_values(condition: str, *, source: str = "", grouping: str = GROUPING) -> str:
    return f"""
        SELECT DISTINCT 'value', {_START}, {grouping}, NULL::numeric, NULL::bigint, NULL::timestamptz, NULL::timestamptz,
               NULL::numeric, md5({COUNTED_TEXT})::uuid
        FROM {source} {_EVENTS} WHERE {condition}
    """


def _read(
    meter: Meter,
    customer_id: str,
    period: Period,
    *,
    parts: list[str],
    values: list[str],
    opening: str,
    spans: list[Period],
    absent: list[str],
    stale: str = _NOTHING_STALE,
    behind: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
    through: int | None = None,
) -> Counted:
    """Read all parts in one statement: what they say is of one moment.

    Raises EventsArchived where raw events are wanted that are purged, or windows that cannot be right without them,
    and _Behind where one of the questions `behind` has an answer.
    """
    parts = list(parts)
    if meter.aggregation == "unique_count":
        parts += values
    if meter.aggregation == "time_weighted_sum":
        parts.append(
            "SELECT 'opening', NULL, grouping, NULL, NULL, NULL, NULL, last_value, NULL FROM ("
            + opening
            + ") AS levels"
        )
    parts.append(
        "SELECT 'cursor', NULL, NULL, NULL, m.rolled_up_to, NULL, NULL, NULL, NULL"
        " FROM metering_meter m WHERE m.id = %(meter)s"
    )
    for kind, questions in (("behind", behind), ("archived", absent)):
        if questions:
            found = " OR ".join(f"EXISTS ({question})" for question in questions)
            parts.append(f"SELECT '{kind}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL WHERE {found}")
    with connection.cursor() as cursor:
        cursor.cursor.adapters.register_loader("timestamptz", Moment)
        cursor.execute(
            f"WITH stale AS MATERIALIZED ({stale}) " + " UNION ALL ".join(parts),
            {
                "meter": meter.pk,
                "customer": customer_id,
                "start": period.start,
                "end": period.end,
                "span_starts": [span.start for span in spans],
                "span_ends": [span.end for span in spans],
                "through": through,
                "carries": meter.aggregation == "time_weighted_sum",
                **(parameters or {}),
            },
        )
        rows = cursor.fetchall()
    kinds = {row[0] for row in rows}
    if "behind" in kinds:
        raise _Behind
    if "archived" in kinds:
        raise EventsArchived(purged_months_of(period=period))
    cursors = [row[4] for row in rows if row[0] == "cursor"]
    assert len(cursors) == 1, "a meter has one cursor"
    # Of one hour and grouping the tail follows the window: its events were accepted later.
    counted = sorted(
        (row for row in rows if row[0] in ("hour", "tail")), key=lambda row: (row[1], row[2] or "", row[0])
    )
    return Counted(
        aggregation=meter.aggregation,
        period=period,
        hours=tuple(Hour(*row[1:5], *row[5:8]) for row in counted),
        through=cursors[0] if through is None else through,
        opening={row[2]: row[7] for row in rows if row[0] == "opening"},
        values=tuple((row[1], row[2], row[8]) for row in rows if row[0] == "value"),
    )
