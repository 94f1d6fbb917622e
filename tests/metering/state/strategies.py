"""What hypothesis draws from: few customers, hours and values, so that whatever can meet meets often."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from billing_site.kernel.period import Period
from metering.core.parsing import Event
from metering.models import THE_BEGINNING
from metering.operations import create_meter

CUSTOMERS = ("cust_a", "cust_b")
TYPES = ("call", "state")
BASE = datetime(2026, 6, 30, 22, tzinfo=UTC)
HOURS = 5
# Hours' bounds on both sides, the half hours of +05:30, ties, and a month's bound within (30 June 22:00 + 2 h).
MOMENTS = tuple(
    BASE + timedelta(hours=hour, minutes=minute, microseconds=microseconds)
    for hour in (0, 1, 2, 4)
    for minute, microseconds in ((0, 0), (29, 59_999_999), (30, 0), (37, 123_457), (59, 59_999_999))
)
PERIODS = (
    Period(BASE, BASE + timedelta(hours=HOURS)),
    Period(BASE + timedelta(minutes=30), BASE + timedelta(hours=4, minutes=30)),
    Period(BASE + timedelta(hours=2), BASE + timedelta(days=3)),
    Period(BASE - timedelta(days=40), BASE + timedelta(hours=1)),
    Period(BASE + timedelta(hours=1, minutes=30), BASE + timedelta(hours=1, minutes=59)),
    Period(BASE + timedelta(hours=3), BASE + timedelta(hours=4)),
    Period(BASE + timedelta(hours=1, minutes=30, microseconds=1), BASE + timedelta(hours=2, minutes=30)),
)
QUESTIONS = (
    ("hour", None),
    ("day", None),
    ("month", None),
    ("hour", "namespace_id"),
    ("day", "region"),
    ("month", "region"),
    ("hour", "user"),
)

quantities = st.sampled_from(
    [
        Decimal(text)
        for text in ("0", "1", "2.5", "0.000000000001", "0E-12", "7", "3E+2", "99999999999999999999999999.999999999999")
    ]
)
TOKENS: list[Any] = [
    5,
    "5",
    Decimal("2.50"),
    "1.5000000000000000",
    Decimal("1E+3"),
    0,
    Decimal("0.000000000001"),
    "x",
    None,
]
TOKENS += [
    True,
    -3,
    "-3",
    "1e3",
    "",
    ["5"],
    Decimal("1E+26"),
    Decimal("0.0000000000001"),
    "007",
    " 5",
    "5.",
    Decimal("-0.0"),
]
tokens = st.sampled_from(TOKENS)
regions = st.sampled_from(["eu", "us", "eu", "us", None, 5, "5", True, "r" * 140, "é\u2028\\\t"])
users = st.sampled_from(["ann", "bob", "ann", 7, "7", Decimal("7.0"), None, False])
properties = st.fixed_dictionaries({}, optional={"tokens": tokens, "region": regions, "user": users})


@st.composite
def contents(draw: st.DrawFn) -> dict[str, Any]:
    """The members of an event that are not its key."""
    return {
        "event_type": draw(st.sampled_from(TYPES)),
        "timestamp": draw(st.sampled_from(MOMENTS)),
        "customer_id": draw(st.sampled_from(CUSTOMERS)),
        "quantity": draw(quantities),
        "namespace_id": draw(st.sampled_from(["", "ns-1", "ns-2"])),
        "properties": draw(properties),
    }


def event_of(key: str, content: dict[str, Any]) -> Event:
    """An event under a key."""
    return Event(event_id=key, idempotency_key=key, **content)


METERS: dict[str, dict[str, Any]] = {
    "sum": {"event_type": "call"},
    "sum-tokens": {"event_type": "call", "value_property": "tokens", "dimensions": ["region"]},
    "count-eu": {"event_type": "call", "aggregation": "count", "filters": {"region": ["eu", "5"]}},
    "max": {"event_type": "call", "aggregation": "max", "dimensions": ["namespace_id"]},
    "min-tokens": {"event_type": "call", "aggregation": "min", "value_property": "tokens"},
    "latest": {"event_type": "state", "aggregation": "latest"},
    "latest-apart": {"event_type": "state", "aggregation": "latest", "dimensions": ["region", "namespace_id"]},
    "users": {"event_type": "call", "aggregation": "unique_count", "value_property": "user"},
    "users-apart": {
        "event_type": "call",
        "aggregation": "unique_count",
        "value_property": "user",
        "dimensions": ["namespace_id"],
        "filters": {"namespace_id": ["ns-1", "ns-2"]},
    },
    "average": {"event_type": "call", "aggregation": "average", "dimensions": ["region"]},
    "level": {"event_type": "state", "aggregation": "time_weighted_sum"},
    "level-apart": {
        "event_type": "state",
        "aggregation": "time_weighted_sum",
        "dimensions": ["namespace_id"],
        "effective_from": BASE + timedelta(hours=1, minutes=30),
    },
    "late-start": {"event_type": "call", "effective_from": BASE + timedelta(hours=2, minutes=30)},
}


def make_meter(key: str, *, effective_from: datetime | None = None) -> None:
    """Create one of the meters, as it is defined here or with a later beginning."""
    definition = {"effective_from": THE_BEGINNING, **METERS[key]}
    if effective_from is not None:
        definition["effective_from"] = effective_from
    create_meter(key=key, name=key, actor="test", reason="set up", **definition)
