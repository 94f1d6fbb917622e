"""Whatever text and number an event holds, both ways into the table keep it exactly, and a repetition is seen as one."""

import dataclasses
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metering.core.decoding import decode_json
from metering.core.parsing import Event
from metering.ingest import Receipt, accept_events
from metering.models import EventConflict
from metering.partitions import consolidate_keys, open_present_month
from tests.factories import JULY, an_event
from tests.metering.state.house import let_a_month_pass

TEXTS = (
    "plain",
    "back\\slash",
    "\\N",
    "\\.",
    "\\\\.",
    "a\\",
    "tab\there",
    "line\nfeed",
    "carriage\rreturn",
    "\r\n",
    "four\ttabs\tin\tone\tkey",
    'quote"quote',
    "quote'quote",
    "percent%s%%",
    "😀 emoji 👩‍👩‍👧",
    "line\u2028separator\u2029paragraph\u0085next",
    "\u202eright to left עברית",
    "vertical\x0btab\x0cfeed\x1bescape\x7fdelete\x01",
    "\ufefforder mark",
    "e\u0301 is not \u00e9",
    "ｆｕｌｌ　ｗｉｄｔｈ",
    "NULL",
    "{}",
    "x" * 200,
    "😀" * 100,
    "\\" * 100,
)
NUMBERS = (
    "0",
    "0E-12",
    "1",
    "1.0",
    "1E+25",
    "9" * 26 + "." + "9" * 12,
    "0.000000000001",
    "1.50000000000000000000",
    "1E-12",
)
JSON = (
    {},
    {"a": "\\", "b": "\t\n\r", "c": '"', "\\N": "\\N", "\\.": "\\.", "": ""},
    {"nested": {"deep": [{"er": ["\\u0041", "\u2028", "😀", None, True, False]}]}},
    {"numbers": [0, -1, 10**25, Decimal("1E+25"), Decimal("0.000000000001"), Decimal("-0.0"), Decimal("1.50")]},
    {"quotes": "'; DROP TABLE metering_usageevent; --", "tab\tin\tname": 1},
    {"z": 1, "a": 2, "aa": 3},
    {"long": "\\" * 3000},
)

Way = Callable[[list[Event]], Receipt]


def by_copy(events: list[Event]) -> Receipt:
    return accept_events(events=events)


def by_insert(events: list[Event]) -> Receipt:
    """A batch with a key twice does not go through COPY."""
    return accept_events(events=[*events, events[0]])


WAYS = pytest.mark.parametrize("way", [by_copy, by_insert])


def event_with(**fields: Any) -> Event:
    plain = an_event("cust_a", "1", at=JULY, key="key")
    return Event(**({name: getattr(plain, name) for name in plain.__struct_fields__} | fields))


def stored() -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT event_id, idempotency_key, event_type, customer_id, namespace_id, quantity, properties::text"
            " FROM metering_usageevent ORDER BY id"
        )
        return [
            dict(
                zip(
                    ("event_id", "idempotency_key", "event_type", "customer_id", "namespace_id", "quantity"),
                    row,
                    strict=False,
                )
            )
            | {"properties": decode_json(row[6].encode())}
            for row in cursor.fetchall()
        ]


@WAYS
@pytest.mark.django_db
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_every_text_is_kept_in_every_field(way: Way, text: str) -> None:
    fields = {"event_id": text, "idempotency_key": text, "event_type": text, "namespace_id": text}
    event = event_with(**fields, customer_id=text[:100], properties={text: text})

    assert way([event]).accepted == 1

    (row,) = stored()
    assert row == fields | {"customer_id": text[:100], "properties": {text: text}, "quantity": 1}


@pytest.mark.django_db
@pytest.mark.parametrize("field", ["event_id", "idempotency_key", "event_type", "customer_id", "namespace_id"])
@pytest.mark.parametrize("text", ["\t", "\\", "a\tb", "\\t", "\n"])
def test_an_odd_text_in_one_field_moves_no_other(field: str, text: str) -> None:
    """Between two plain neighbours, as a line of COPY among others."""
    odd = event_with(**{"idempotency_key": "odd", field: f"x{text}y"})
    neighbours = [event_with(idempotency_key=key) for key in ("first", "last")]

    accept_events(events=[neighbours[0], odd, neighbours[1]])

    kept = {row["idempotency_key"]: row for row in stored()}
    assert len(kept) == 3
    assert kept[odd.idempotency_key][field] == f"x{text}y"


@WAYS
@pytest.mark.django_db
@pytest.mark.parametrize("number", NUMBERS)
def test_every_quantity_is_kept_to_the_digit(way: Way, number: str) -> None:
    way([event_with(quantity=Decimal(number))])

    assert stored()[0]["quantity"] == Decimal(number)


@WAYS
@pytest.mark.django_db
@pytest.mark.parametrize("properties", JSON, ids=range(len(JSON)))
def test_properties_are_kept_to_the_last_escape(way: Way, properties: Mapping[str, Any]) -> None:
    way([event_with(properties=properties)])

    assert stored()[0]["properties"] == properties


def remembered() -> None:
    let_a_month_pass()
    open_present_month()
    consolidate_keys()
    # What is purged is known by its key and the digest of its content only.
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("DELETE FROM metering_usageevent")
        cursor.execute("SET session_replication_role = origin")


SAME = [
    ({"quantity": Decimal("1.0")}, {"quantity": Decimal("1")}),
    ({"quantity": Decimal("0E-12")}, {"quantity": Decimal("0")}),
    ({"quantity": Decimal("1E+25")}, {"quantity": Decimal("1" + "0" * 25)}),
    ({"properties": {"a": 1, "b": 2}}, {"properties": {"b": 2, "a": 1}}),
    ({"properties": {"a": Decimal("1.0")}}, {"properties": {"a": 1}}),
    (
        {"properties": {"a": [Decimal("1.50"), {"b": Decimal("0.0")}]}},
        {"properties": {"a": [Decimal("1.5"), {"b": 0}]}},
    ),
    ({"properties": {"a": Decimal("1E+3")}}, {"properties": {"a": 1000}}),
    ({"properties": {"a": Decimal("-0.0")}}, {"properties": {"a": 0}}),
    ({"event_id": "one", "timestamp": JULY}, {"event_id": "other", "timestamp": JULY + timedelta(days=1)}),
]
OTHER = [
    ({"properties": {"a": 1}}, {"properties": {"a": "1"}}),
    ({"properties": {"a": "1.0"}}, {"properties": {"a": "1"}}),
    ({"properties": {"a": None}}, {"properties": {}}),
    ({"properties": {"a": True}}, {"properties": {"a": "true"}}),
    ({"properties": {"a": [1, 2]}}, {"properties": {"a": [2, 1]}}),
    ({"properties": {"a": "1.50"}, "namespace_id": "x"}, {"properties": {"a": "1.50"}, "namespace_id": "y"}),
    ({"properties": {"é": 1}}, {"properties": {"e\u0301": 1}}),
    ({"quantity": Decimal("1")}, {"quantity": Decimal("1.000000000001")}),
]
LATER = pytest.mark.parametrize("later", [lambda: None, let_a_month_pass, remembered], ids=["open", "closed", "purged"])


@LATER
@pytest.mark.django_db
@pytest.mark.parametrize(("first", "second"), SAME, ids=range(len(SAME)))
def test_the_same_content_written_another_way_is_a_repetition_for_ever(
    first: dict[str, Any], second: dict[str, Any], later: Callable[[], None]
) -> None:
    """Numbers are equal by value (1, 1.0, 1E+0), objects whatever the order of their names, times and event ids are stamps."""
    accept_events(events=[event_with(**first)])
    later()

    again = accept_events(events=[event_with(**second)])

    assert dataclasses.astuple(again) == (0, 1, ())
    assert EventConflict.objects.count() == 0


@LATER
@pytest.mark.django_db
@pytest.mark.parametrize(("first", "second"), OTHER, ids=range(len(OTHER)))
def test_another_content_is_a_contradiction_for_ever(
    first: dict[str, Any], second: dict[str, Any], later: Callable[[], None]
) -> None:
    """A number is not its text, null is not absent, order in a list says something, texts are compared as they are."""
    accept_events(events=[event_with(**first)])
    later()

    again = accept_events(events=[event_with(**second)])

    assert (again.accepted, again.duplicates, len(again.conflicts)) == (0, 0, 1)
    assert EventConflict.objects.count() == 1


texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=20)
numbers = st.decimals(allow_nan=False, allow_infinity=False, places=12, min_value=0, max_value=10**20)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.slow
@pytest.mark.django_db
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    texts=st.tuples(texts, texts, texts, texts, texts),
    quantity=numbers,
    properties=st.dictionaries(texts, json_values, max_size=3),
    way=st.sampled_from([by_copy, by_insert]),
)
def test_any_event_comes_back_as_it_was_sent_and_its_repetition_is_one(
    texts: tuple[str, ...], quantity: Decimal, properties: dict[str, Any], way: Way
) -> None:
    names = ("event_id", "idempotency_key", "event_type", "customer_id", "namespace_id")
    fields = dict(zip(names, texts, strict=True)) | {"quantity": quantity, "properties": properties}
    event = event_with(**fields)

    first = way([event])
    row = stored()[-1] if first.accepted else None
    again = way([event])

    assert row is None or row == fields
    assert again.accepted == 0
    assert again.conflicts == first.conflicts
