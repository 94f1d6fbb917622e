"""What one event counts for a meter, as SQL: the one definition that rollup, queries and checks share.

The fragments expect the event as `e` and the meter as `m`. An event counts for a meter of its type if it
happened when the meter was in effect, passes the meter's filters, has a value, and is not cancelled.
"""

# A property counts if it is a number from 0 on with at most 26 digits before the point and 12 after
# it, written as a JSON number or as a string. jsonb writes numbers without an exponent.
_PROPERTY = "(e.properties ->> m.value_property)"
_PROPERTY_COUNTS = rf"{_PROPERTY} ~ '^[0-9]{{1,26}}([.][0-9]{{1,12}}0*)?$'"
_READS_TEXT = "m.aggregation = 'unique_count'"
_READS_NOTHING = "(m.aggregation = 'count' OR m.value_property = '')"

# NULL where the meter reads a property that this event lacks: such an event is in no window, it is listed.
COUNTED_VALUE = f"""(CASE
    WHEN m.aggregation IN ('count', 'unique_count') THEN 1::numeric
    WHEN m.value_property = '' THEN e.quantity
    WHEN {_PROPERTY_COUNTS} THEN {_PROPERTY}::numeric
END)"""

# What a unique count tells apart.
COUNTED_TEXT = f"(CASE WHEN m.value_property = 'namespace_id' THEN NULLIF(e.namespace_id, '') ELSE {_PROPERTY} END)"

HAS_VALUE = f"""(CASE
    WHEN {_READS_NOTHING} THEN TRUE
    WHEN {_READS_TEXT} THEN {COUNTED_TEXT} IS NOT NULL
    ELSE COALESCE({_PROPERTY_COUNTS}, FALSE)
END)"""

PASSES_FILTERS = """(m.filters = '{}'::jsonb OR NOT EXISTS (
    SELECT FROM jsonb_each(m.filters) AS f(name, wanted)
    WHERE NOT COALESCE(f.wanted ? (CASE f.name WHEN 'namespace_id' THEN NULLIF(e.namespace_id, '')
                                     ELSE e.properties ->> f.name END), FALSE)
))"""

IS_IN_EFFECT = "(e.timestamp >= m.effective_from)"

# Without the question whether the event is cancelled.
IS_COUNTED = f"({IS_IN_EFFECT} AND {HAS_VALUE} AND {PASSES_FILTERS})"

# date_bin is immutable and knows no time zone: the hours are UTC hours whatever the session says.
HOUR_OF_EVENT = "date_bin('1 hour', e.timestamp, '2000-01-01 00:00:00+00')"

# The values of a grouping are part of an index: long ones are told apart by their digest.
_SHORT = "CASE WHEN length({0}) > 132 THEN left({0}, 100) || md5({0}) ELSE {0} END"
_DIMENSION = "(CASE d.name WHEN 'namespace_id' THEN NULLIF(e.namespace_id, '') ELSE e.properties ->> d.name END)"
GROUPING = f"""(CASE WHEN m.dimensions = '[]'::jsonb THEN '' ELSE (
    SELECT jsonb_agg({_SHORT.format(_DIMENSION)} ORDER BY d.place)::text
    FROM jsonb_array_elements_text(m.dimensions) WITH ORDINALITY AS d(name, place)
) END)"""


def grouping_by(parameter: str) -> str:
    """Return SQL for the value of any property, or the namespace, that events are grouped by; NULL without."""
    return (
        f"(CASE {parameter}::text WHEN 'namespace_id' THEN NULLIF(e.namespace_id, '')"
        f" ELSE e.properties ->> {parameter}::text END)"
    )


def not_cancelled(through: str) -> str:
    """Return SQL for: no cancellation up to number `through` (SQL) takes the event back."""
    return (
        f"NOT EXISTS (SELECT FROM metering_eventcancellation c WHERE c.event_number = e.id AND c.number <= {through})"
    )


def in_effect_as_known(through: str) -> str:
    """Return SQL for: the meter counted at the event's time, as was known through number `through` (SQL)."""
    return f"""({IS_IN_EFFECT} AND NOT EXISTS (
        SELECT FROM metering_meterbackdating b
        WHERE b.meter_id = m.id AND b.number > {through} AND e.timestamp < b.effective_before
    ))"""


def known_through(through: str) -> str:
    """Return SQL for: the event counts for the meter, as was known through number `through` (SQL)."""
    return (
        f"(e.id <= {through} AND {HAS_VALUE} AND {PASSES_FILTERS}"
        f" AND {in_effect_as_known(through)} AND {not_cancelled(through)})"
    )


# How the values `v` of one hour become its window's value, by aggregation. In the rows they come from, `at` is the
# event's timestamp, `number` its number, `text` what a unique count tells apart, and `next_at` when the next event of the hour was.
VALUE_OF_HOUR = {
    "sum": "sum(v)",
    "average": "sum(v)",
    "count": "count(*)",
    "max": "max(v)",
    "min": "min(v)",
    "latest": "(array_agg(v ORDER BY at DESC, number DESC))[1]",
    "unique_count": "count(DISTINCT text)",
    "time_weighted_sum": "COALESCE(sum(v * (1000000 * extract(epoch FROM next_at - at))::numeric(20, 0)), 0)",
}
IS_ORDERED = ("latest", "time_weighted_sum")


def hours_of_events(
    *, aggregation: str, condition: str, grouping: str = GROUPING, start: str = HOUR_OF_EVENT, source: str = ""
) -> str:
    """Return SQL for the hours of the events that meet a condition, as windows have them.

    `source` is put before the events in FROM ("spans CROSS JOIN"), so that the condition may refer to it.

    Columns: meter_id, customer_id, start, grouping, value, event_count, last_event, first_at, last_at, last_value.
    """
    ordered = aggregation in IS_ORDERED
    following = (
        f"lead(e.timestamp) OVER (PARTITION BY m.id, e.customer_id, {start}, {grouping} ORDER BY e.timestamp, e.id)"
        if aggregation == "time_weighted_sum"
        else "NULL::timestamptz"
    )
    bounds = (
        "min(at) AS first_at, max(at) AS last_at, (array_agg(v ORDER BY at DESC, number DESC))[1] AS last_value"
        if ordered
        else "NULL::timestamptz AS first_at, NULL::timestamptz AS last_at, NULL::numeric AS last_value"
    )
    text = COUNTED_TEXT if aggregation == "unique_count" else "NULL::text"
    return f"""
        SELECT meter_id, customer_id, start, grouping, ({VALUE_OF_HOUR[aggregation]})::numeric AS value,
               count(*) AS event_count, max(number) AS last_event, {bounds}
        FROM (
            SELECT m.id AS meter_id, e.customer_id, {start} AS start, {grouping} AS grouping, e.id AS number,
                   e.timestamp AS at, {COUNTED_VALUE} AS v, {text} AS text, {following} AS next_at
            FROM {source} metering_usageevent e JOIN metering_meter m ON m.event_type = e.event_type
            WHERE {condition}
        ) AS counted
        GROUP BY meter_id, customer_id, start, grouping
    """
