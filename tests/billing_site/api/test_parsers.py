"""JSON is read exactly, and what is ambiguous or absurd is refused."""

import contextlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing_site.api.parsers import exact_json
from billing_site.kernel.errors import InvalidFields, Malformed


def test_numbers_keep_every_digit_and_never_become_floats():
    assert exact_json(b'{"a": 0.1, "b": 12, "c": 1e2}') == {"a": Decimal("0.1"), "b": 12, "c": Decimal("1E+2")}
    assert exact_json(b"0.1000000000000000055511151231257827") == Decimal("0.1000000000000000055511151231257827")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"NaN",
        b'{"quantity": Infinity}',
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b"[" * 33 + b"]" * 33,
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b"1" * 5000,
        b"1e999999999",
        b"1e-999999999999999999999999",
        b'"\\ud800"',
        b'{"\\udc00": 1}',
        b'{"a\\u0000": 1}',
        b"{'a': 1}",
        b'{"a": 1} x',
        b'{"a": 01}',
    ],
)
def test_what_is_not_unambiguous_json_is_malformed(body):
    with pytest.raises(Malformed):
        exact_json(body)


def test_thirty_two_levels_are_enough_for_anyone():
    assert exact_json(b"[" * 32 + b"]" * 32)


def test_text_that_the_database_cannot_hold_is_told_with_its_place():
    with pytest.raises(InvalidFields) as problem:
        exact_json(b'{"a": [{"b": "x\\u0000"}]}')

    assert [error.field for error in problem.value.errors] == ["a[0].b"]


@given(st.binary(max_size=300))
def test_no_bytes_at_all_are_anything_but_read_or_refused(body):
    with contextlib.suppress(Malformed, InvalidFields):
        exact_json(body)
