"""A meter is created once, keeps its meaning, and remembers who created it and why."""

from datetime import timedelta
from typing import Any

import pytest

from billing_site.kernel.errors import Conflict, InvalidFields
from metering.models import Meter
from metering.operations import create_meter
from tests.factories import JULY
from tests.metering.conftest import Crowd

TOKENS = {
    "key": "tokens",
    "name": "Tokens",
    "event_type": "llm.request",
    "value_property": "tokens",
    "unit": "token",
    "actor": "alice",
    "reason": "launch",
}


@pytest.mark.django_db
def test_creating_a_meter_twice_is_one_meter() -> None:
    first, second = create_meter(**TOKENS), create_meter(**TOKENS)

    assert first == second
    assert Meter.objects.get().history.count() == 1
    assert Meter.objects.get().history.get().history_change_reason == "alice: launch"


@pytest.mark.django_db
def test_a_meter_may_be_renamed() -> None:
    create_meter(**TOKENS)

    create_meter(**TOKENS | {"name": "All tokens", "reason": "clearer"})

    assert Meter.objects.get().name == "All tokens"
    assert Meter.objects.get().history.count() == 2


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("field", "other"), [("event_type", "x"), ("aggregation", "count"), ("value_property", "output_tokens")]
)
def test_what_a_meter_counts_never_changes(field: str, other: str) -> None:
    create_meter(**TOKENS)

    with pytest.raises(Conflict) as refused:
        create_meter(**TOKENS | ({"value_property": ""} if field == "aggregation" else {}) | {field: other})

    assert refused.value.field in (field, "aggregation")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("key", ""),
        ("key", "two words"),
        ("key", "k" * 101),
        ("key", 5),
        ("name", " "),
        ("event_type", ""),
        ("event_type", "a\x00"),
        ("aggregation", "median"),
        ("value_property", "p" * 201),
        ("unit", None),
    ],
)
def test_a_meter_that_makes_no_sense_is_told_by_field(field: str, value: object) -> None:
    with pytest.raises(InvalidFields) as refused:
        create_meter(**TOKENS | {field: value})

    assert {error.field for error in refused.value.field_errors} == {field}


@pytest.mark.parametrize(
    ("one", "other", "are_the_same"),
    [
        ({}, {"aggregation": "count"}, True),
        ({}, {"dimensions": ["region"]}, True),
        ({"filters": {"model": ["a", "b"]}}, {"filters": {"model": ["b", "a"]}}, True),
        ({"filters": {"model": ["a"]}}, {"filters": {"model": ["b"]}}, False),
        ({}, {"filters": {"model": ["a"]}}, False),
        ({}, {"value_property": "tokens"}, False),
        ({"value_property": "tokens"}, {"value_property": "tokens", "aggregation": "max"}, True),
        # A count reads no property; a unique count takes text that no sum could read.
        ({}, {"value_property": "tokens", "aggregation": "count"}, True),
        ({"value_property": "tokens"}, {"value_property": "tokens", "aggregation": "unique_count"}, False),
        ({}, {"effective_from": JULY}, True),
        ({}, {"effective_from": JULY + timedelta(microseconds=1)}, False),
    ],
)
def test_meters_of_one_rule_count_the_same_events(
    one: dict[str, Any], other: dict[str, Any], are_the_same: bool
) -> None:
    rules = {Meter(event_type="llm.request", **terms).rule_of_events(since=JULY) for terms in (one, other)}

    assert (len(rules) == 1) == are_the_same


@pytest.mark.django_db(transaction=True)
def test_eight_creators_at_once_make_one_meter(crowd: Crowd) -> None:
    meters = crowd.all([lambda: create_meter(**TOKENS).pk] * 8)

    assert len(set(meters)) == 1
    assert Meter.objects.get().history.count() == 1
