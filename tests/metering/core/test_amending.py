"""A replacement has a key of its own, and is read as strictly as an event that arrives."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from billing_site.kernel.errors import InvalidFields, InvalidInput
from metering.core.amending import KEY_LENGTH_MAX, amended_event, amended_key
from metering.core.parsing import Event, parse_event

AT = datetime(2026, 7, 9, 12, tzinfo=UTC)
ACCEPTED = Event("e", "k", "tokens", AT, "cust_acme", Decimal("5"), "ns", {"rate": Decimal("0.1")})


def test_the_key_of_a_replacement_names_the_original() -> None:
    assert amended_key(key="order-7", number=3) == "order-7~amended-3"


@pytest.mark.parametrize("length", [244, 245, 246, 255])
def test_a_long_key_is_cut_and_told_apart(length: int) -> None:
    one, other = "k" * length, "k" * (length - 1) + "x"

    keys = {amended_key(key=key, number=1) for key in (one, other)}

    assert len(keys) == 2
    assert all(len(key) <= KEY_LENGTH_MAX and key.endswith("~amended-1") for key in keys)


@pytest.mark.parametrize("key", ["a~amended-1", "~amended-99", "k" * 245 + "~amended-1"])
def test_a_clients_own_key_of_that_form_is_refused(key: str) -> None:
    document = {
        "event_id": "e",
        "idempotency_key": key,
        "event_type": "t",
        "timestamp": "2026-07-09T12:00:00Z",
        "customer_id": "c",
        "quantity": "1",
    }

    with pytest.raises(InvalidInput) as refused:
        parse_event(document=document, received_at=AT)

    assert (refused.value.field, refused.value.code) == ("idempotency_key", "reserved")


@pytest.mark.parametrize("key", ["a~amended-", "a~amended-1x", "a~amended-1 b", "amended-1", "~amended-1~"])
def test_keys_that_only_look_like_it_are_taken(key: str) -> None:
    document = {
        "event_id": "e",
        "idempotency_key": key,
        "event_type": "t",
        "timestamp": "2026-07-09T12:00:00Z",
        "customer_id": "c",
        "quantity": "1",
    }

    assert parse_event(document=document, received_at=AT).idempotency_key == key


def test_what_is_not_changed_stays_to_the_digit() -> None:
    replacement = amended_event(accepted=ACCEPTED, changes={"quantity": "6"}, key="k~amended-1", received_at=AT)

    assert replacement == Event(
        "e", "k~amended-1", "tokens", AT, "cust_acme", Decimal("6"), "ns", {"rate": Decimal("0.1")}
    )


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, "changes"),
        ([], "changes"),
        ("quantity", "changes"),
        ({"customer_id": "other"}, "changes.customer_id"),
        ({"idempotency_key": "other"}, "changes.idempotency_key"),
        ({"quantity": "-1"}, "changes.quantity"),
        ({"quantity": None}, "changes.quantity"),
        ({"timestamp": "yesterday"}, "changes.timestamp"),
        ({"timestamp": "2026-07-09T12:00:00"}, "changes.timestamp"),
        ({"event_type": ""}, "changes.event_type"),
        ({"namespace_id": "\x00"}, "changes.namespace_id"),
        ({"properties": []}, "changes.properties"),
    ],
)
def test_changes_that_cannot_be_accepted_are_told_by_field(changes: Any, field: str) -> None:
    with pytest.raises((InvalidInput, InvalidFields)) as refused:
        amended_event(accepted=ACCEPTED, changes=changes, key="k~amended-1", received_at=AT)

    assert field in {error.field for error in refused.value.field_errors}
