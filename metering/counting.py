"""What one event counts for a meter, as SQL: the one definition that rollup, queries and checks share.

The fragments expect the event as `e` and the meter as `m`.
"""

# A property counts if it is a number from 0 on with at most 26 digits before the point and 12 after
# it, written as a JSON number or as a string. jsonb writes numbers without an exponent.
_PROPERTY = "(e.properties ->> m.value_property)"
_PROPERTY_COUNTS = rf"{_PROPERTY} ~ '^[0-9]{{1,26}}([.][0-9]{{1,12}}0*)?$'"

# NULL where the meter sums a property that this event lacks: such an event is in no window, it is listed.
COUNTED_VALUE = f"""(CASE
    WHEN m.aggregation = 'count' THEN 1::numeric
    WHEN m.value_property = '' THEN e.quantity
    WHEN {_PROPERTY_COUNTS} THEN {_PROPERTY}::numeric
END)"""

IS_COUNTED = f"(m.aggregation = 'count' OR m.value_property = '' OR COALESCE({_PROPERTY_COUNTS}, FALSE))"

# date_bin is immutable and knows no time zone: the hours are UTC hours whatever the session says.
HOUR_OF_EVENT = "date_bin('1 hour', e.timestamp, '2000-01-01 00:00:00+00')"
