"""Well-known formats become events as their publishers mean them; a rule wins over the preset."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_site.kernel.errors import BillingError
from metering.core.mapping import documents_of, map_row, mapping_of_object, read_mapping
from metering.core.parsing import Event, parse_event
from metering.core.presets import ACCESS_LOG, CLOUDEVENTS, LAGO, OPENMETER, PRESETS, identity

RECEIVED = datetime(2026, 7, 15, 12, tzinfo=UTC)
COMMON = '127.0.0.1 - frank [10/Jul/2026:13:55:36 +0200] "GET /v1/chat?key=secret HTTP/1.1" 200 2326'
COMBINED = f'{COMMON} "https://example.com/start" "curl/8.1 (\\"quoted\\")"'


def events(preset: str, row: Mapping[str, Any], *rules: str) -> list[Event]:
    mapping = read_mapping(rules=rules, zone=None, preset=PRESETS[preset])
    return [
        parse_event(
            document=map_row(
                mapping=mapping_of_object(mapping=mapping, names=document), row=document, position=f"row-1.{part}"
            ),
            received_at=RECEIVED,
        )
        for part, document in enumerate(documents_of(mapping=mapping, values=row))
    ]


def event(preset: str, row: Mapping[str, Any], *rules: str) -> Event:
    (only,) = events(preset, row, *rules)
    return only


def refusal(preset: str, row: Mapping[str, Any], *rules: str) -> tuple[str, str]:
    with pytest.raises(BillingError) as refused:
        events(preset, row, *rules)
    return refused.value.field, refused.value.code


def logged(line: str, *rules: str) -> Event:
    return event("access_log", {"line": line}, *rules)


def cloud_event(**attributes: Any) -> dict[str, Any]:
    complete = {
        "specversion": "1.0",
        "id": "00001",
        "source": "/service-0",
        "type": "request",
        "subject": "cust_acme",
        "time": "2026-07-01T00:00:00.001Z",
        "data": {"tokens": "12", "model": "small"},
    }
    return {name: value for name, value in {**complete, **attributes}.items() if value is not None}


def lago_event(**members: Any) -> dict[str, Any]:
    complete = {
        "transaction_id": "tx_1",
        "external_subscription_id": "sub_1",
        "code": "storage",
        "timestamp": 1_782_864_000,
        "properties": {"gb": Decimal("10.10")},
    }
    return {name: value for name, value in {**complete, **members}.items() if value is not None}


def test_a_line_of_the_combined_log_format_is_one_request_of_the_authenticated_user() -> None:
    read = logged(COMBINED)

    assert (read.customer_id, read.event_type, read.quantity) == ("frank", "http.request", 1)
    assert read.timestamp == datetime(2026, 7, 10, 11, 55, 36, tzinfo=UTC)
    assert read.properties == {
        "method": "GET",
        "path": "/v1/chat",
        "status": "200",
        "bytes": 2326,
        "user_agent": 'curl/8.1 ("quoted")',
    }
    assert read.idempotency_key.startswith("row-1")


def test_a_line_of_the_common_log_format_is_the_same_without_the_user_agent() -> None:
    assert dict(logged(COMMON).properties) == {"method": "GET", "path": "/v1/chat", "status": "200", "bytes": 2326}


def test_rules_count_bytes_and_name_another_customer() -> None:
    read = logged(COMBINED, "quantity=bytes", "customer_id=host", "properties.query=query", "event_type==egress")

    assert (read.quantity, read.customer_id, read.event_type) == (2326, "127.0.0.1", "egress")
    assert read.properties["query"] == "key=secret"


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        (("frank", "-"), "customer_id", "required"),
        (("10/Jul/2026", "10/Quz/2026"), "timestamp", "not_a_time"),
        (("10/Jul/2026", "31/Feb/2026"), "timestamp", "not_a_time"),
        (("+0200", "CEST_"), "timestamp", "not_a_time"),
        ((" 200 2326", ""), "", "malformed"),
        (('"GET', "GET"), "", "malformed"),
    ],
)
def test_a_line_that_is_no_request_of_somebody_is_refused(change: tuple[str, str], field: str, code: str) -> None:
    assert refusal("access_log", {"line": COMMON.replace(*change)}) == (field, code)


@pytest.mark.parametrize(
    ("change", "properties"),
    [
        (("2326", "-"), {"bytes": 0}),
        (("/v1/chat?key=secret", r"/a\"b\\c\x41"), {"path": r'/a"b\cA'}),
        (("/v1/chat?key=secret", r"/\xff"), {"path": r"/\xff"}),
        (("/v1/chat?key=secret", r"/\x00"), {"path": r"/\x00"}),
        (("/v1/chat?key=secret", "/ü"), {"path": "/ü"}),
    ],
)
def test_what_the_log_escapes_is_read_as_it_was_sent(change: tuple[str, str], properties: dict[str, Any]) -> None:
    assert properties.items() <= dict(logged(COMMON.replace(*change)).properties).items()


@pytest.mark.parametrize("request_line", ["-", "", r"\x16\x03\x01"])
def test_bytes_that_are_no_http_are_a_request_without_method_and_path(request_line: str) -> None:
    line = COMMON.replace("GET /v1/chat?key=secret HTTP/1.1", request_line)

    assert dict(logged(line).properties) == {"status": "200", "bytes": 2326}


def test_what_a_server_adds_after_the_format_can_be_mapped() -> None:
    read = logged(f'{COMBINED} "203.0.113.7" 0.042', "properties.more=rest", "customer_id==c")

    assert read.properties["more"] == '"203.0.113.7" 0.042'


@given(st.text(max_size=300))
def test_any_text_is_a_request_or_a_refusal(text: str) -> None:
    try:
        logged(text)
    except BillingError as refused:
        assert refused.message


def test_a_cloud_event_is_known_by_source_and_id() -> None:
    read = event("cloudevents", cloud_event())

    assert (read.event_id, read.idempotency_key) == ("00001", "/service-0 00001")
    assert (read.event_type, read.customer_id, read.quantity) == ("request", "cust_acme", 1)
    assert read.properties == {"tokens": "12", "model": "small"}
    assert event("cloudevents", cloud_event(), "quantity=data.tokens").quantity == 12


@pytest.mark.parametrize(
    ("attributes", "properties"),
    [
        ({"data": None}, {}),
        ({"data": [1, 2]}, {"data": [1, 2]}),
        ({"data": None, "data_base64": "AAE="}, {"data_base64": "AAE="}),
    ],
)
def test_content_that_is_no_object_is_kept_under_its_own_name(
    attributes: dict[str, Any], properties: dict[str, Any]
) -> None:
    assert event("cloudevents", cloud_event(**attributes)).properties == properties


@pytest.mark.parametrize(
    ("attributes", "field", "code"),
    [
        ({"specversion": None}, "specversion", "unknown"),
        ({"specversion": "0.3"}, "specversion", "unknown"),
        ({"id": None}, "id", "required"),
        ({"id": 1}, "id", "required"),
        ({"source": ""}, "source", "required"),
        ({"type": None}, "type", "required"),
        ({"subject": None}, "customer_id", "required"),
        ({"time": None}, "timestamp", "required"),
        ({"time": "2026-07-01T00:00:00"}, "timestamp", "naive"),
    ],
)
def test_a_cloud_event_without_identity_customer_or_time_is_refused(
    attributes: dict[str, Any], field: str, code: str
) -> None:
    assert refusal("cloudevents", cloud_event(**attributes)) == (field, code)


@given(st.lists(st.tuples(st.text(max_size=6), st.text(max_size=6)), min_size=2, max_size=6, unique=True))
def test_no_two_pairs_have_one_identity(pairs: list[tuple[str, str]]) -> None:
    assert len({identity(*pair) for pair in pairs}) == len(pairs)


def test_an_identity_too_long_for_a_key_is_a_digest() -> None:
    assert identity("s", "i" * 253) == f"s {'i' * 253}"
    assert identity("s", "i" * 254).startswith("sha256:")


@pytest.mark.parametrize(
    ("content", "quantity"),
    [({"tokens": 5}, 1), ({"value": 2.5}, Decimal("2.5")), ({"value": "12"}, 12), ({"value": 0}, 0), (None, 1)],
)
def test_an_openmeter_event_counts_its_value_or_one(content: Any, quantity: Any) -> None:
    content = {name: Decimal(str(value)) for name, value in content.items()} if content else content

    read = event("openmeter", cloud_event(specversion=None, data=content))

    assert read.quantity == quantity


def test_an_openmeter_value_that_is_no_number_is_refused() -> None:
    assert refusal("openmeter", cloud_event(data={"value": "much"})) == ("quantity", "not_a_number")


def test_a_lago_event_counts_one_and_keeps_its_properties_for_the_meter() -> None:
    read = event("lago", lago_event())

    assert (read.event_id, read.idempotency_key) == ("tx_1", "sub_1 tx_1")
    assert (read.customer_id, read.event_type, read.quantity) == ("sub_1", "storage", 1)
    assert (read.timestamp, read.properties) == (datetime(2026, 7, 1, tzinfo=UTC), {"gb": Decimal("10.10")})
    assert event("lago", lago_event(), "quantity=properties.gb").quantity == Decimal("10.1")


def test_a_transaction_of_two_subscriptions_of_a_customer_is_two_events() -> None:
    first = event("lago", lago_event(external_customer_id="cust_acme"))
    second = event("lago", lago_event(external_customer_id="cust_acme", external_subscription_id="sub_2"))
    without = event("lago", lago_event(external_customer_id="cust_acme", external_subscription_id=None))

    assert {first.customer_id, second.customer_id, without.customer_id} == {"cust_acme"}
    assert [one.idempotency_key for one in (first, second, without)] == ["sub_1 tx_1", "sub_2 tx_1", "tx_1"]


@pytest.mark.parametrize(
    ("timestamp", "microsecond"),
    [
        (1_782_864_000, 0),
        ("1782864000", 0),
        ("1782864000.123", 123_000),
        (Decimal("1782864000.1234567"), 123_456),
        (Decimal("1.782864E+9"), 0),
        ("2026-07-01T00:00:00.123Z", 123_000),
        ("2026-07-01T02:00:00+02:00", 0),
    ],
)
def test_unix_seconds_are_read_exactly(timestamp: Any, microsecond: int) -> None:
    read = event("lago", lago_event(timestamp=timestamp))

    assert read.timestamp == datetime(2026, 7, 1, microsecond=microsecond, tzinfo=UTC)


@pytest.mark.parametrize(
    ("timestamp", "code"),
    [
        (None, "required"),
        ("soon", "not_a_time"),
        (-1, "not_a_time"),
        (1_782_864_000_000, "not_a_time"),
        (Decimal("1E+999999"), "not_a_time"),
        (Decimal("1E-999999"), "not_a_time"),
        (True, "wrong_type"),
        (999_999_999_999, "not_a_time"),
        (0, "out_of_range"),
    ],
)
def test_what_is_no_time_is_refused(timestamp: Any, code: str) -> None:
    assert refusal("lago", lago_event(timestamp=timestamp)) == ("timestamp", code)


def test_a_lago_batch_is_its_events() -> None:
    second = lago_event(transaction_id="tx_2")

    assert [one.event_id for one in events("lago", {"events": [lago_event(), second]})] == ["tx_1", "tx_2"]
    assert [one.event_id for one in events("lago", {"event": second})] == ["tx_2"]
    assert refusal("lago", {"events": [1]}) == ("events", "wrong_type")
    assert refusal("lago", lago_event(transaction_id=None)) == ("event_id", "required")


@pytest.mark.parametrize("preset", [ACCESS_LOG, CLOUDEVENTS, OPENMETER, LAGO])
def test_every_preset_fills_every_required_field_or_leaves_its_key_to_the_row(preset: Any) -> None:
    assert {"event_type", "timestamp", "customer_id", "quantity"} <= set(preset.sources)
    assert PRESETS[preset.name] is preset
