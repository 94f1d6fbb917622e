"""Meters of the catalog file: what they count, apart by what, and from when."""

from datetime import UTC, datetime
from typing import Any

import pytest

from billing_site.kernel.errors import Conflict, InvalidFields
from invoicing.catalog.operations import load_catalog
from metering.models import Meter
from tests.factories import JULY

pytestmark = pytest.mark.django_db

STORAGE = {
    "key": "storage",
    "event_type": "volume.resized",
    "aggregation": "time_weighted_sum",
    "value_property": "gigabytes",
    "unit": "GB-hour",
    "filters": {"class": ["ssd", "nvme"]},
    "dimensions": ["region"],
    "effective_from": "2026-07-01T00:00:00Z",
}


def load(*meters: Any) -> None:
    load_catalog(document={"meters": list(meters)}, at=JULY, actor="test", reason="set up")


def test_a_catalog_describes_a_meter_in_full_and_loads_it_again_without_a_change() -> None:
    load(STORAGE)

    load(STORAGE)

    meter = Meter.objects.get()
    assert (meter.aggregation, meter.filters, meter.dimensions) == (
        "time_weighted_sum",
        {"class": ["ssd", "nvme"]},
        ["region"],
    )
    assert meter.effective_from == datetime(2026, 7, 1, tzinfo=UTC)


def test_another_meaning_of_a_known_meter_is_refused() -> None:
    load(STORAGE)

    with pytest.raises(Conflict, match="what it counts cannot change"):
        load(STORAGE | {"filters": {"class": ["hdd"]}})


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"aggregation": "median"}, "meters[0].aggregation"),
        ({"aggregation": "unique_count", "value_property": ""}, "meters[0].value_property"),
        ({"filters": ["ssd"]}, "meters[0].filters"),
        ({"filters": {"class": "ssd"}}, "meters[0].filters.class"),
        ({"filters": {"class": [1]}}, "meters[0].filters.class"),
        ({"dimensions": "region"}, "meters[0].dimensions"),
        ({"dimensions": ["a", "b", "c", "d"]}, "meters[0].dimensions"),
        ({"dimensions": ["a", "a"]}, "meters[0].dimensions"),
        ({"effective_from": "July"}, "meters[0].effective_from"),
        ({"effective_from": "2026-07-01T00:00:00"}, "meters[0].effective_from"),
        ({"effective_from": 2026}, "meters[0].effective_from"),
    ],
)
def test_a_meter_that_makes_no_sense_is_told_by_its_place(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidFields) as refused:
        load(STORAGE | wrong)

    assert field in [error.field for error in refused.value.errors]
