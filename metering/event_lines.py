"""An event as a line of JSON, as SQL: what archives hold, what event files give out, and the bytes that roots are made over.

A line is what jsonb writes of {id, event_id, quantity, dedup_key, timestamp, event_type, properties, customer_id, received_at,
namespace_id, idempotency_key}: names by length, then by letter, one blank after each colon and comma, numbers with their digits, quantities
as text without trailing zeros, timestamps in UTC to the microsecond. Written piece by piece it is the same bytes in half the time.
"""

from metering.models.events import UsageEvent

_TIME = """to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
_PIECES = {
    "id": "e.id",
    "event_id": "to_json(e.event_id)",
    "quantity": """'"', trim_scale(e.quantity), '"'""",
    "dedup_key": """'"', e.dedup_key, '"'""",
    "timestamp": f"""'"', {_TIME.format("e.timestamp")}, '"'""",
    "event_type": "to_json(e.event_type)",
    "properties": "e.properties",
    "customer_id": "to_json(e.customer_id)",
    "received_at": f"""'"', {_TIME.format("e.received_at")}, '"'""",
    "namespace_id": "to_json(e.namespace_id)",
    "idempotency_key": "to_json(e.idempotency_key)",
}
assert list(_PIECES) == sorted(_PIECES, key=lambda name: (len(name), name)), "jsonb orders names so"
assert set(_PIECES) == {field.attname for field in UsageEvent._meta.concrete_fields}, "a line is the whole event"

# The line of the event `e`.
EVENT_LINE = f"""concat('{{', {", ', ', ".join(f"'{chr(34)}{name}{chr(34)}: ', {piece}" for name, piece in _PIECES.items())}, '}}')"""

# A line back as columns, in the order of COLUMNS.
COLUMNS = (
    "id, dedup_key, event_id, idempotency_key, event_type, customer_id, timestamp, quantity, namespace_id, properties,"
    " received_at"
)
FROM_LINE = """
    (line ->> 'id')::bigint, (line ->> 'dedup_key')::uuid, line ->> 'event_id', line ->> 'idempotency_key',
    line ->> 'event_type', line ->> 'customer_id', (line ->> 'timestamp')::timestamptz, (line ->> 'quantity')::numeric,
    line ->> 'namespace_id', line -> 'properties', (line ->> 'received_at')::timestamptz
"""


def unescaped(rows: list[bytes]) -> bytes:
    """Return rows of COPY as they are: JSON has no raw control characters, so a backslash is all that is escaped."""
    return b"".join(rows).replace(b"\\\\", b"\\")
