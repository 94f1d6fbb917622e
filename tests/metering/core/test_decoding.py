"""JSON is decoded exactly, or refused; whatever the bytes are."""

import json
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from billing_site.kernel.errors import Malformed
from metering.core.decoding import decode_json


@pytest.mark.requirement("S0-109")
@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"0.1", Decimal("0.1")),
        (b"1.10", Decimal("1.10")),
        (b"1e400", Decimal("1e400")),
        (b"123456789012345678901234567890.123456789012", Decimal("123456789012345678901234567890.123456789012")),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
        (b"18446744073709551616", 2**64),
    ],
)
def test_no_digit_is_lost(text: bytes, value: object) -> None:
    decoded = decode_json(text)

    assert (decoded, type(decoded)) == (value, type(value))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"nonsense",
        b"NaN",
        b"Infinity",
        b"-",
        b"01",
        b"1 2",
        b"'a'",
        b'{"a":1,}',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"\\udc00 is no pair"',
        b'"a\nb"',
        b"\x00",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b"1e999999999999999999999",
        b"1" + b"0" * 5000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
    ],
)
def test_bytes_that_are_not_json_are_malformed(text: bytes) -> None:
    with pytest.raises(Malformed):
        decode_json(text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"quantity":1,"quantity":2}',
        b'{"quantity":1, "quantity" : 2}',
        b'{"a":{"b":"x","b":"x"}}',
        b'[{"a":1},{"a":1,"b":[],"a":"1"}]',
        b'{"a":"\\"","\\u0061":1}',
        b'{"events":[],"events":[]}',
    ],
)
def test_a_name_that_stands_twice_in_one_object_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed, match="twice"):
        decode_json(text)


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":"say \\"hi\\"","b":"x"}',
        b'[{"a":1},{"a":1}]',
        b'{"a":{"a":"a"},"b":"a"}',
        b'{ "a" : "b:c" , "d": ["e", "e"] }',
        '{"a":"é","b":"\\u00e9"}'.encode(),
        b'{"a":"\\u0000"}',
        b'{"":""}',
    ],
)
def test_names_that_stand_once_are_not(text: bytes) -> None:
    assert decode_json(text) == json.loads(text)


@given(st.binary())
@example(b"[" * 3000 + b"]" * 3000)
def test_any_bytes_are_json_or_malformed(text: bytes) -> None:
    try:
        decode_json(text)
    except Malformed as refused:
        assert refused.message


@pytest.mark.parametrize("value", [b"NaN", b"-Infinity"])
def test_a_number_that_is_none_is_told_with_the_name_of_its_field(value: bytes) -> None:
    with pytest.raises(Malformed, match="must be a number") as problem:
        decode_json(b'{"event_id": "a", "quantity": ' + value + b"}")

    assert problem.value.field == "quantity"
