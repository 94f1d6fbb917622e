"""One event is read strictly; the first wrong field is named with what to do about it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_site.kernel.errors import InvalidInput
from metering.core.parsing import Event, parse_event

RECEIVED = datetime(2026, 7, 15, 12, tzinfo=UTC)


def document(**fields: Any) -> dict[str, Any]:
    complete = {
        "event_id": "evt_1",
        "idempotency_key": "ns-wf-1",
        "event_type": "action.consumed",
        "timestamp": "2026-07-01T12:00:00.123Z",
        "customer_id": "cust_acme",
        "quantity": "1",
    }
    return complete | fields


def parsed(**fields: Any) -> Event:
    return parse_event(document=document(**fields), received_at=RECEIVED)


def refusal(**fields: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as refused:
        parsed(**fields)
    return refused.value


@pytest.mark.requirement("S0-019")
@pytest.mark.requirement("S0-020")
@pytest.mark.requirement("S0-021")
@pytest.mark.requirement("S0-023")
@pytest.mark.requirement("S0-025")
@pytest.mark.requirement("S0-026")
@pytest.mark.requirement("S0-027")
@pytest.mark.requirement("S0-028")
def test_a_complete_event_is_read_as_it_stands() -> None:
    properties = {
        "action_type": "workflow_execution_started",
        "workflow_type": "order-processing",
        "region": "us-east-1",
    }

    event = parsed(namespace_id="ns-prod", properties=properties)

    assert event == Event(
        event_id="evt_1",
        idempotency_key="ns-wf-1",
        event_type="action.consumed",
        timestamp=datetime(2026, 7, 1, 12, 0, 0, 123_000, tzinfo=UTC),
        customer_id="cust_acme",
        quantity=Decimal(1),
        namespace_id="ns-prod",
        properties=properties,
    )


@pytest.mark.requirement("S0-110")
@pytest.mark.parametrize("field", ["event_id", "idempotency_key", "event_type", "timestamp", "customer_id", "quantity"])
def test_a_missing_field_is_named(field: str) -> None:
    incomplete = document()
    del incomplete[field]

    with pytest.raises(InvalidInput) as refused:
        parse_event(document=incomplete, received_at=RECEIVED)

    assert (refused.value.field, refused.value.code) == (field, "required")


@pytest.mark.parametrize("optional", ["namespace_id", "properties"])
def test_an_optional_field_that_is_null_counts_as_absent(optional: str) -> None:
    assert parsed(**{optional: None}) == parsed()


@pytest.mark.requirement("S0-024")
@pytest.mark.parametrize(
    ("written", "read"),
    [
        (1, "1"),
        (0, "0"),
        (Decimal("0.1"), "0.1"),
        ("0.1", "0.1"),
        ("15000000", "15000000"),
        ("1e3", "1000"),
        (Decimal("-0.0"), "0"),
        ("0.000000000001", "0.000000000001"),
        ("99999999999999999999999999.999999999999", "99999999999999999999999999.999999999999"),
        ("1.0000000000000000", "1"),
        (10**25, "10000000000000000000000000"),
    ],
)
def test_quantities_are_exact_whether_number_or_string(written: Any, read: str) -> None:
    assert parsed(quantity=written).quantity == Decimal(read)


@pytest.mark.parametrize(
    ("written", "code"),
    [
        (-1, "negative"),
        ("-0.000000000001", "negative"),
        ("NaN", "not_a_number"),
        ("Infinity", "not_a_number"),
        (Decimal("NaN"), "not_a_number"),
        ("1,000", "not_a_number"),
        ("1_000", "not_a_number"),
        (" 1", "not_a_number"),
        ("+1", "not_a_number"),
        (".5", "not_a_number"),
        ("5.", "not_a_number"),
        ("٣", "not_a_number"),
        ("", "not_a_number"),
        ("0x10", "not_a_number"),
        ("1" * 101, "not_a_number"),
        (True, "not_a_number"),
        (None, "not_a_number"),
        ([1], "not_a_number"),
        ({}, "not_a_number"),
        (10**26, "out_of_range"),
        ("1e26", "out_of_range"),
        ("1e999999", "out_of_range"),
        ("0.0000000000001", "out_of_range"),
        ("1e-999999", "out_of_range"),
    ],
)
def test_a_quantity_that_cannot_be_billed_is_refused(written: Any, code: str) -> None:
    refused = refusal(quantity=written)

    assert (refused.field, refused.code) == ("quantity", code)


@pytest.mark.requirement("S0-022")
@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-07-01T00:00:00Z", datetime(2026, 7, 1, tzinfo=UTC)),
        ("2026-07-01t00:00:00.5z", datetime(2026, 7, 1, 0, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-07-01 02:00:00+02:00", datetime(2026, 7, 1, tzinfo=UTC)),
        ("2026-07-01T05:30:00+05:30", datetime(2026, 7, 1, tzinfo=UTC)),
        ("2026-07-01T00:00:00.123456999Z", datetime(2026, 7, 1, 0, 0, 0, 123_456, tzinfo=UTC)),
        ("2024-02-29T23:59:59.999999Z", datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)),
        ("2000-01-01T00:00:00Z", datetime(2000, 1, 1, tzinfo=UTC)),
        ("1999-12-31T23:00:00-01:00", datetime(2000, 1, 1, tzinfo=UTC)),
        ("2026-07-16T12:00:00Z", RECEIVED + timedelta(hours=24)),
    ],
)
def test_timestamps_are_read_to_the_microsecond_and_kept_in_utc(written: str, moment: datetime) -> None:
    timestamp = parsed(timestamp=written).timestamp

    assert (timestamp, timestamp.utcoffset()) == (moment, timedelta(0))


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("2026-07-01T00:00:00", "naive"),
        ("2026-07-01", "not_a_time"),
        ("2026-02-29T00:00:00Z", "not_a_time"),
        ("2026-07-01T24:00:00Z", "not_a_time"),
        ("2026-07-01T23:59:60Z", "not_a_time"),
        ("2026-W27-3T00:00:00Z", "not_a_time"),
        ("2026-07-01T00:00:00,5Z", "not_a_time"),
        ("2026-07-01T00:00:00+25:00", "not_a_time"),
        ("٢٠٢٦-07-01T00:00:00Z", "not_a_time"),
        ("yesterday", "not_a_time"),
        ("", "not_a_time"),
        (1782864000, "wrong_type"),
        (None, "wrong_type"),
        ("1999-12-31T23:59:59.999999Z", "out_of_range"),
        ("2000-01-01T00:00:00+00:01", "out_of_range"),
        ("0001-01-01T00:00:00+23:59", "out_of_range"),
        ("9999-12-31T23:59:59-23:59", "out_of_range"),
        ("2026-07-16T12:00:00.000001Z", "out_of_range"),
    ],
)
def test_a_timestamp_that_is_not_one_is_refused(written: Any, code: str) -> None:
    refused = refusal(timestamp=written)

    assert (refused.field, refused.code) == ("timestamp", code)


def test_a_naive_timestamp_is_told_what_to_write() -> None:
    assert "write 2026-07-01T00:00:00Z" in refusal(timestamp="2026-07-01T00:00:00").message


@pytest.mark.parametrize(
    ("field", "length_max"),
    [("event_id", 255), ("idempotency_key", 255), ("event_type", 200), ("customer_id", 100), ("namespace_id", 200)],
)
def test_a_text_may_be_as_long_as_its_column_and_no_longer(field: str, length_max: int) -> None:
    assert getattr(parsed(**{field: "é" * length_max}), field) == "é" * length_max
    refused = refusal(**{field: "é" * (length_max + 1)})

    assert (refused.field, refused.code) == (field, "too_long")


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("", "blank"),
        ("  ", "blank"),
        (" a", "blank"),
        ("a\n", "blank"),
        ("a\x00b", "nul"),
        ("a\ud800b", "encoding"),
        (7, "wrong_type"),
    ],
)
def test_a_key_that_would_not_be_found_again_is_refused(written: Any, code: str) -> None:
    refused = refusal(customer_id=written)

    assert (refused.field, refused.code) == ("customer_id", code)


def test_an_unknown_field_is_named() -> None:
    refused = refusal(quantitiy="1")

    assert (refused.field, refused.code) == ("quantitiy", "unknown_field")


@pytest.mark.parametrize("value", [None, 1, "text", [], [{}]])
def test_what_is_no_object_is_no_event(value: Any) -> None:
    with pytest.raises(InvalidInput):
        parse_event(document=value, received_at=RECEIVED)


@pytest.mark.parametrize(
    ("properties", "field", "code"),
    [
        ([], "properties", "wrong_type"),
        ("{}", "properties", "wrong_type"),
        ({"a": "x" * 16 * 1024}, "properties", "too_long"),
        ({"a": {"b": ["\x00"]}}, "properties.a.b[0]", "nul"),
        ({"a\x00": 1}, "properties", "nul"),
        ({"a": "\udfff"}, "properties.a", "encoding"),
        ({"a": Decimal("1E+200")}, "properties.a", "out_of_range"),
        ({"a": Decimal("1E-201")}, "properties.a", "out_of_range"),
        ({"a": 10**200}, "properties.a", "out_of_range"),
        ({"a": [[[[[[[[[]]]]]]]]]}, "properties", "too_deep"),
    ],
)
def test_properties_that_cannot_be_kept_exactly_are_refused(properties: Any, field: str, code: str) -> None:
    refused = refusal(properties=properties)

    assert (refused.field, refused.code) == (field, code)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from([*document(), "namespace_id", "properties", "other"]), json_values))
def test_any_document_is_an_event_or_a_refusal_that_names_a_field(fields: dict[str, Any]) -> None:
    try:
        event = parsed(**fields)
    except InvalidInput as refused:
        assert refused.field
        assert refused.message
    else:
        assert event.quantity >= 0
        assert event.timestamp.utcoffset() == timedelta(0)


@given(st.decimals(min_value=0, max_value=10**26 - 1, places=12, allow_nan=False, allow_infinity=False))
def test_every_quantity_that_fits_is_read_to_the_last_digit(quantity: Decimal) -> None:
    assert parsed(quantity=quantity).quantity == quantity
    assert parsed(quantity=format(quantity, "f")).quantity == quantity
