"""Well-known formats and how they become events: access logs, CloudEvents, OpenMeter's and Lago's event shapes.

A preset is a table (field of an event → where it comes from) and small pure readers. A `--map` rule wins over its
line in the table, so each table is only where reading begins.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from billing_site.kernel.errors import InvalidInput, Malformed
from metering.core.mapping import Preset, Source
from metering.core.parsing import TEXT_LENGTHS, read_number

LOG_LINE_LENGTH_MAX = 64 * 1024
# %h %l %u %t "%r" %>s %b, and in the combined format "%{Referer}i" "%{User-Agent}i"; more may follow.
_LOG_LINE = re.compile(
    r"(?P<host>\S+) (?P<ident>\S+) (?P<user>.+?) \[(?P<time>[^\]]{20,40})\] "
    r'"(?P<request>(?:[^"\\]|\\.)*)" (?P<status>\d{3}|-) (?P<bytes>\d{1,20}|-)'
    r'(?: "(?P<referer>(?:[^"\\]|\\.)*)" "(?P<user_agent>(?:[^"\\]|\\.)*)")?(?: (?P<rest>.*))?'
)
_LOG_TIME = re.compile(r"(\d{2})/([A-Z][a-z]{2})/(\d{4}):(\d{2}:\d{2}:\d{2}) ([+-]\d{2})(\d{2})")
_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_ESCAPE = re.compile(rb'\\(?:x([0-9A-Fa-f]{2})|(["\\bnrtvf]))')
_ESCAPED = {b"b": b"\b", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v", b"f": b"\f"}
_UNIX_SECONDS = re.compile(r"(\d{1,12})(?:\.(\d{1,20}))?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_access_log(row: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    r"""Take one line of the common or combined log format apart; raises Malformed for any other line.

    Relied on (Apache's mod_log_config, nginx's ngx_http_log_module): the order and quoting of the fields; `-` for
    what is absent, for bytes also where none were sent; the time as [10/Oct/2026:13:55:36 +0200] with English months;
    `\"`, `\\` and `\xhh` for what cannot stand in quotes. Fields after the format's own are in `rest`.
    """
    found = _LOG_LINE.fullmatch(row["line"]) if len(row["line"]) <= LOG_LINE_LENGTH_MAX else None
    if found is None:
        raise Malformed("is not a line of the common or combined log format")
    fields: dict[str, Any] = {
        name: _unescaped(text) for name, text in found.groupdict().items() if text is not None and text != "-"
    }
    request = fields.get("request", "").split(" ")
    if len(request) in (2, 3):
        path, _, query = request[1].partition("?")
        fields |= {"method": request[0], "path": path, "query": query}
    fields["time"] = _log_time(found["time"])
    fields["bytes"] = int(fields.get("bytes", 0))
    return (fields,)


def read_cloud_event(row: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Check the envelope of a CloudEvent in the JSON format; raises InvalidInput.

    Relied on (CloudEvents 1.0, JSON event format): `specversion` is "1.0"; `id`, `source` and `type` are required and
    `source` with `id` is the event's identity; `subject` and `time` (RFC 3339) are optional there and needed here;
    `data` is any JSON value, `data_base64` stands for it where it is binary; a batch is a JSON array of such objects.
    """
    if row.get("specversion") != "1.0":
        raise InvalidInput('must be "1.0": this reads CloudEvents 1.0', field="specversion", code="unknown")
    _refuse_without(row, "id", "source", "type")
    return (row,)


def read_openmeter(row: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Check the envelope of an event as OpenMeter takes it; raises InvalidInput.

    Relied on (OpenMeter, usage events): they are CloudEvents whose `subject` is the customer and whose `data` holds
    what meters read by path (`$.tokens`), numbers also as strings; `specversion` may be absent and is 1.0 then.
    OpenMeter stamps an event without `time` itself; here it is refused, because a file read again later would
    be stamped otherwise.
    """
    return read_cloud_event({"specversion": "1.0", **row})


def read_lago(row: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the events of Lago's request shapes: bare, {"event": {...}}, or {"events": [...]}; raises InvalidInput.

    Relied on (Lago, create a usage event): `transaction_id` is unique per `external_subscription_id`; `code` names the
    billable metric; `timestamp` is in unix seconds, an integer or a decimal string, in answers also RFC 3339;
    `properties` is an object in which the metric's `field_name` stands. Lago stamps an event without `timestamp`
    itself; here it is refused (see OpenMeter).
    """
    wrapped: Any = [row["event"]] if "event" in row else row.get("events", [row])
    if not isinstance(wrapped, list) or not all(isinstance(event, dict) for event in wrapped):
        raise InvalidInput("must hold objects with the fields of an event", field="events", code="wrong_type")
    return wrapped


def identity(outer: str, inner: str) -> str:
    """Return one key for a name within a name (CloudEvents `source` and `id`): no two pairs have the same.

    The readable form parts them by a blank; where that could be read in two ways, or is too long, it is a digest.
    """
    plain = f"{outer} {inner}"
    if outer and not any(character.isspace() for character in outer) and len(plain) <= TEXT_LENGTHS["idempotency_key"]:
        return plain
    return f"sha256:{hashlib.sha256(json.dumps([outer, inner]).encode()).hexdigest()}"


def _cloud_identity(row: Mapping[str, Any]) -> Any:
    return identity(row["source"], row["id"])


def _cloud_properties(row: Mapping[str, Any]) -> Any:
    """Return `data` where it is an object; any other content is kept under its own name."""
    content = row.get("data")
    if isinstance(content, dict):
        return content
    return {name: row[name] for name in ("data", "data_base64") if row.get(name) is not None}


def _openmeter_quantity(row: Mapping[str, Any]) -> Any:
    """Return `data.value` where there is one, else one event; meters read other members by `value_property`."""
    content = row.get("data")
    value = content.get("value") if isinstance(content, dict) else None
    return 1 if value is None else value


def _lago_identity(row: Mapping[str, Any]) -> Any:
    transaction, subscription = row.get("transaction_id"), row.get("external_subscription_id")
    if isinstance(transaction, str) and transaction and isinstance(subscription, str) and subscription:
        return identity(subscription, transaction)
    return transaction


def _lago_customer(row: Mapping[str, Any]) -> Any:
    """Return the customer that the event names, else the subscription, which then has to be a customer's key here."""
    return row.get("external_customer_id") or row.get("external_subscription_id")


def _lago_moment(row: Mapping[str, Any]) -> Any:
    """Return the timestamp as RFC 3339: unix seconds are turned without a float, anything else is left to the check."""
    value = row.get("timestamp")
    number = None if isinstance(value, str) and not _UNIX_SECONDS.fullmatch(value) else read_number(value)
    if number is None:
        return value
    # Neither 1E+999999 nor 1E-999999 is written out.
    found = _UNIX_SECONDS.fullmatch(f"{number:f}") if -20 <= number.adjusted() < 12 else None
    if found is None:
        raise InvalidInput("is not a time in unix seconds", field="timestamp", code="not_a_time")
    microseconds = int((found[2] or "")[:6].ljust(6, "0"))
    try:
        return (_EPOCH + timedelta(seconds=int(found[1]), microseconds=microseconds)).isoformat()
    except OverflowError:
        raise InvalidInput("is not a time in unix seconds", field="timestamp", code="not_a_time") from None


def _refuse_without(row: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if not isinstance(row.get(name), str) or not row[name]:
            raise InvalidInput("is required: a string that is not empty", field=name, code="required")


def _log_time(text: str) -> str:
    found = _LOG_TIME.fullmatch(text)
    if found is None or found[2] not in _MONTHS:
        raise InvalidInput("is not a time such as 10/Oct/2026:13:55:36 +0200", field="timestamp", code="not_a_time")
    day, month, year, time, hours, minutes = found.groups()
    return f"{year}-{_MONTHS.index(month) + 1:02}-{day}T{time}{hours}:{minutes}"


def _unescaped(text: str) -> str:
    """Undo the log's escapes; what would not be text then (a client may send any bytes) stays as it was logged."""
    if "\\" not in text:
        return text
    written = text.encode("utf-8", "surrogateescape")
    meant = _ESCAPE.sub(
        lambda found: bytes.fromhex(found[1].decode()) if found[1] else _ESCAPED.get(found[2], found[2]), written
    )
    try:
        return text if b"\x00" in meant else meant.decode()
    except UnicodeDecodeError:
        return text


_CLOUD_SOURCES = {
    "event_id": Source("id"),
    "idempotency_key": Source("source, id", read=_cloud_identity),
    "event_type": Source("type"),
    "timestamp": Source("time"),
    "customer_id": Source("subject"),
    "properties": Source("data", read=_cloud_properties),
}

ACCESS_LOG = Preset(
    name="access_log",
    title="Apache's and nginx's common and combined log lines",
    documents=read_access_log,
    is_lines=True,
    # A request counts 1. `--map quantity=bytes`, or a meter with value_property bytes, counts what was sent.
    # The query stays out, because it may hold secrets; host, query, referer and rest can be mapped.
    sources={
        "event_type": Source("http.request", is_constant=True),
        "timestamp": Source("time"),
        "customer_id": Source("user"),
        "quantity": Source("1", is_constant=True),
        "properties.method": Source("method"),
        "properties.path": Source("path"),
        "properties.status": Source("status"),
        "properties.bytes": Source("bytes"),
        "properties.user_agent": Source("user_agent"),
    },
)
CLOUDEVENTS = Preset(
    name="cloudevents",
    title="CloudEvents 1.0 in JSON, one or an array",
    documents=read_cloud_event,
    sources={**_CLOUD_SOURCES, "quantity": Source("1", is_constant=True)},
)
OPENMETER = Preset(
    name="openmeter",
    title="events as OpenMeter takes them, in JSON",
    documents=read_openmeter,
    sources={**_CLOUD_SOURCES, "quantity": Source("data.value, or 1", read=_openmeter_quantity)},
)
LAGO = Preset(
    name="lago",
    title="events as Lago takes them, in JSON",
    documents=read_lago,
    sources={
        "event_id": Source("transaction_id"),
        "idempotency_key": Source("external_subscription_id, transaction_id", read=_lago_identity),
        "event_type": Source("code"),
        "timestamp": Source("timestamp", read=_lago_moment),
        "customer_id": Source("external_customer_id or external_subscription_id", read=_lago_customer),
        "quantity": Source("1", is_constant=True),
        "properties": Source("properties"),
    },
)
PRESETS = {preset.name: preset for preset in (ACCESS_LOG, CLOUDEVENTS, OPENMETER, LAGO)}
