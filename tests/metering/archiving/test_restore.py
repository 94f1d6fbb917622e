"""A purged month comes back exactly as it was, or not at all."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from billing_site.kernel.errors import NotFound
from billing_site.kernel.period import Period
from metering.archiving import restore
from metering.archiving.absent import EventsArchived
from metering.archiving.checks import archive_faults
from metering.archiving.export import archive_closed_days
from metering.archiving.files import ArchiveDiffers
from metering.archiving.purge import purge_events
from metering.archiving.restore import restore_month
from metering.archiving.retention import retention
from metering.core.definition import AGGREGATIONS
from metering.correcting import cancel_event
from metering.ingest import accept_events
from metering.listing import listing_faults
from metering.models import EventArchive, KnownKey, UnappliedEvent, UnsettledHour, UsageEvent, UsageWindow
from metering.operations import create_meter
from metering.partitions import faults
from metering.queries import billing_usage, conservation, usage_as_known, usage_between
from metering.rollup import roll_up
from tests.factories import an_event
from tests.metering.archiving.past import (
    PastEvent,
    a_meter,
    accepted_long_ago,
    an_hour_of,
    months_ago,
    rows_of_events,
)

OLD = months_ago(18)
HOUR = an_hour_of(OLD)
PERIOD = Period(OLD, OLD + timedelta(days=28))
SET_APART = ("max", "min", "latest", "unique_count", "time_weighted_sum")


def now() -> datetime:
    return datetime.now(UTC)


def counted_months(aggregation: str = "sum", **options: Any) -> None:
    a_meter(aggregation=aggregation, value_property="user" if aggregation == "unique_count" else "", **options)
    numbers = '{"user": "ann", "exact": 1.50, "region": "eu"}'
    accepted_long_ago(
        [
            PastEvent("one", HOUR, quantity="2.000000000001", properties=numbers, namespace_id="ns"),
            PastEvent("two", HOUR + timedelta(minutes=30), quantity="3", properties={"user": "bob", "region": "us"}),
            PastEvent("far", an_hour_of(OLD, day=20), quantity="1", properties={"user": "ann"}),
            # Accepted in the next month, for an hour of the old one.
            PastEvent("next", an_hour_of(months_ago(17)), at=HOUR + timedelta(minutes=10), properties={"user": "eve"}),
        ]
    )
    roll_up()
    archive_closed_days()


def windows() -> list[dict[str, Any]]:
    return list(UsageWindow.objects.order_by("id").values())


def purge() -> list[str]:
    return [month.name for month in purge_events(at=now(), actor="test").purged]


@pytest.mark.django_db
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_a_restored_month_is_what_it_was_to_the_last_byte(aggregation: str) -> None:
    counted_months(aggregation, dimensions=["region"])
    rows, before = rows_of_events(), windows()
    keys = KnownKey.objects.count()
    known = usage_as_known(meter_key="actions", customer_id="cust_a", period=PERIOD, known_through=2**62)
    billed = billing_usage(meter_keys=["actions"], customer_id="cust_a", period=PERIOD)

    assert len(purge()) == 2
    assert all(row.balanced for row in conservation())
    assert billing_usage(meter_keys=["actions"], customer_id="cust_a", period=PERIOD) == billed
    first = restore_month(month=OLD)
    assert all(row.balanced for row in conservation())
    restore_month(month=months_ago(17))

    assert (first.events, len(first.days), first.settled_hours) == (3, 2, 0)
    assert rows_of_events() == rows
    assert windows() == before
    assert KnownKey.objects.count() == keys
    assert all(row.balanced for row in conservation())
    assert usage_as_known(meter_key="actions", customer_id="cust_a", period=PERIOD, known_through=2**62) == known
    assert faults() == [] and list(archive_faults()) == []


@pytest.mark.django_db
def test_restoring_again_changes_nothing_and_purging_again_is_possible() -> None:
    counted_months()
    before = windows()
    assert len(purge()) == 2
    restore_month(month=OLD)

    again = restore_month(month=OLD)

    assert again.days == ()
    assert purge() == [f"{OLD:%Y-%m}"]
    assert restore_month(month=OLD).events == 3
    restore_month(month=months_ago(17))
    assert windows() == before


@pytest.mark.django_db
def test_a_restored_month_takes_no_inserts_and_keeps_its_guards() -> None:
    counted_months()
    purge()
    restore_month(month=OLD)
    table = f"metering_usageevent_y{OLD:%Y}m{OLD:%m}"

    for attack in (
        f"UPDATE {table} SET quantity = 0",
        f"DELETE FROM {table}",
        f"TRUNCATE {table}",
        f"INSERT INTO {table} SELECT * FROM {table}",
    ):
        with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(attack)
    assert accept_events(events=[an_event("cust_a", "3", at=now(), key="two")]).accepted == 0


@pytest.mark.django_db
@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "other"])
def test_a_file_that_is_not_what_was_archived_restores_nothing(archive_folder: Path, damage: str) -> None:
    counted_months()
    purge()
    row = EventArchive.objects.order_by("day")[1]
    path = archive_folder / row.file_name
    packed = bytearray(path.read_bytes())
    if damage == "flip":
        packed[20] ^= 1
        path.write_bytes(packed)
    elif damage == "cut":
        path.write_bytes(packed[:-9])
    elif damage == "gone":
        path.unlink()
    else:
        path.write_bytes((archive_folder / EventArchive.objects.order_by("day")[0].file_name).read_bytes())

    with pytest.raises(ArchiveDiffers, match="nothing was restored"), transaction.atomic():
        restore_month(month=OLD)

    assert UsageEvent.objects.count() == 0
    assert [subject for subject, _ in archive_faults()] == [f"archive of {row.day}"]
    assert all(row.balanced for row in conservation())


@pytest.mark.django_db
def test_rows_that_load_otherwise_than_they_were_archived_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    counted_months()
    purge()
    monkeypatch.setattr(restore, "FROM_LINE", restore.FROM_LINE.replace("line ->> 'namespace_id'", "''"))

    with pytest.raises(ArchiveDiffers, match="loads as something else"), transaction.atomic():
        restore_month(month=OLD)

    assert UsageEvent.objects.count() == 0


@pytest.mark.django_db
def test_why_an_event_counts_nowhere_is_asked_again_when_it_comes_back() -> None:
    a_meter()
    accepted_long_ago([PastEvent("stray", HOUR, event_type="nobody.counts")])
    roll_up()
    archive_closed_days()
    purge()
    create_meter(key="strays", name="Strays", event_type="nobody.counts", actor="t", reason="t")
    roll_up()
    assert UnappliedEvent.objects.get().reason == "no_meter"

    restore_month(month=OLD)

    assert UnappliedEvent.objects.get().reason == "before_meter"
    assert listing_faults() == []
    assert all(row.balanced for row in conservation())


@pytest.mark.django_db
def test_a_month_without_archive_cannot_be_restored() -> None:
    with pytest.raises(NotFound, match="is archived"):
        restore_month(month=OLD)


@pytest.mark.django_db
@pytest.mark.parametrize("argument", ["--month={:%Y-%m}", "--day={:%Y-%m}-17"])
def test_the_command_restores_the_month_also_of_a_day(argument: str, capsys: Any) -> None:
    counted_months()
    purge()

    call_command("restore_events", argument.format(OLD))
    call_command("restore_events", argument.format(OLD))

    first, second = capsys.readouterr().out.splitlines()[-2:]
    assert f"{OLD:%Y-%m}: 3 events of 2 days restored" in first
    assert "is here" in second
    with pytest.raises(CommandError, match="write 2026-03"):
        call_command("restore_events", "--month", "march")


@pytest.mark.django_db
@pytest.mark.parametrize("aggregation", ["sum", "count", "average", "max", "min", "latest", "unique_count"])
def test_a_late_event_is_added_to_an_archived_hour(aggregation: str) -> None:
    counted_months(aggregation)
    late = an_event("cust_a", "9", at=HOUR + timedelta(minutes=20), key="late")
    late.properties["user"] = "zoe"
    purge()
    accept_events(events=[late])
    roll_up()

    shown = usage_between(meter_key="actions", customer_id="cust_a", period=PERIOD)

    assert all(row.balanced for row in conservation())
    for month in (OLD, months_ago(17)):
        restore_month(month=month)
    known = usage_as_known(meter_key="actions", customer_id="cust_a", period=PERIOD, known_through=2**62)
    assert shown == known.quantity
    assert all(row.balanced for row in conservation())


@pytest.mark.django_db
@pytest.mark.parametrize("aggregation", ["sum", "count", "average"])
def test_a_sum_with_an_archived_part_is_counted_again(aggregation: str) -> None:
    counted_months(aggregation)
    purge()
    accept_events(events=[an_event("cust_a", "9", at=HOUR, key="late"), an_event("cust_a", "4", at=HOUR, key="later")])
    roll_up()
    cancel_event(customer_id="cust_a", idempotency_key="late", actor="test", reason="wrong")
    roll_up()

    shown = usage_between(meter_key="actions", customer_id="cust_a", period=PERIOD)

    assert not UnsettledHour.objects.exists()
    assert all(row.balanced for row in conservation())
    for month in (OLD, months_ago(17)):
        restore_month(month=month)
    known = usage_as_known(meter_key="actions", customer_id="cust_a", period=PERIOD, known_through=2**62)
    assert shown == known.quantity


@pytest.mark.django_db
def test_between_a_correction_and_the_rollup_an_archived_hour_is_not_guessed() -> None:
    counted_months()
    purge()
    accept_events(events=[an_event("cust_a", "9", at=HOUR, key="late")])
    roll_up()
    before = usage_between(meter_key="actions", customer_id="cust_a", period=PERIOD)
    cancel_event(customer_id="cust_a", idempotency_key="late", actor="test", reason="wrong")

    with pytest.raises(EventsArchived):
        usage_between(meter_key="actions", customer_id="cust_a", period=PERIOD)
    roll_up()

    assert usage_between(meter_key="actions", customer_id="cust_a", period=PERIOD) == before - 9


@pytest.mark.django_db
@pytest.mark.parametrize("aggregation", SET_APART)
def test_an_hour_that_cannot_be_counted_again_is_listed_told_and_settled_by_the_restore(aggregation: str) -> None:
    counted_months(aggregation)
    purge()
    late = an_event("cust_a", "9", at=HOUR + timedelta(minutes=40), key="late")
    late.properties["user"] = "zoe"
    accept_events(events=[late])
    roll_up()
    cancel_event(customer_id="cust_a", idempotency_key="late", actor="test", reason="wrong")

    roll_up()
    roll_up()

    assert UnsettledHour.objects.get().start == HOUR
    assert all(row.balanced for row in conservation())
    with pytest.raises(EventsArchived) as told:
        usage_between(meter_key="actions", customer_id="cust_a", period=PERIOD)
    assert told.value.months == (f"{OLD:%Y-%m}", f"{months_ago(17):%Y-%m}")
    with pytest.raises(EventsArchived):
        billing_usage(meter_keys=["actions"], customer_id="cust_a", period=PERIOD)
    assert restore_month(month=OLD).settled_hours == 0, "the next month holds an event of the hour, too"
    assert restore_month(month=months_ago(17)).settled_hours == 1
    assert not UnsettledHour.objects.exists()
    assert all(row.balanced for row in conservation())
    shown = usage_between(meter_key="actions", customer_id="cust_a", period=PERIOD)
    known = usage_as_known(meter_key="actions", customer_id="cust_a", period=PERIOD, known_through=2**62)
    assert shown == known.quantity


@pytest.mark.django_db
def test_a_level_reported_late_within_an_archived_hour_waits_for_its_month() -> None:
    counted_months("time_weighted_sum")
    purge()
    accept_events(events=[an_event("cust_a", "9", at=HOUR + timedelta(minutes=20), key="late")])
    window = UsageWindow.objects.get(start=HOUR)

    roll_up()
    accept_events(events=[an_event("cust_a", "8", at=HOUR + timedelta(minutes=50), key="later")])
    roll_up()

    assert UsageWindow.objects.get(start=HOUR) == window
    assert UsageWindow.objects.get(start=HOUR).value == window.value
    assert all(row.balanced for row in conservation())
    with pytest.raises(EventsArchived):
        usage_between(meter_key="actions", customer_id="cust_a", period=PERIOD)
    for month in (OLD, months_ago(17)):
        restore_month(month=month)
    shown = usage_between(meter_key="actions", customer_id="cust_a", period=PERIOD)
    known = usage_as_known(meter_key="actions", customer_id="cust_a", period=PERIOD, known_through=2**62)
    assert shown == known.quantity
    assert all(row.balanced for row in conservation())


@pytest.mark.django_db
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_a_proof_says_archived_and_names_the_months(aggregation: str) -> None:
    counted_months(aggregation)
    cursor = UsageEvent.objects.order_by("-id")[0].pk
    purge()

    with pytest.raises(EventsArchived, match="archived, restore to prove") as told:
        usage_as_known(meter_key="actions", customer_id="cust_a", period=PERIOD, known_through=cursor)

    assert f"restore_events --month {OLD:%Y-%m}" in str(told.value)
    elsewhere = usage_as_known(meter_key="actions", customer_id="cust_b", period=PERIOD, known_through=cursor)
    assert elsewhere.quantity == 0


@pytest.mark.django_db
def test_a_proof_that_knew_an_event_which_was_cancelled_since_says_archived_too() -> None:
    a_meter()
    accepted_long_ago([PastEvent("one", HOUR)])
    roll_up()
    known = UsageEvent.objects.get().pk
    cancel_event(customer_id="cust_a", idempotency_key="one", actor="test", reason="wrong")
    roll_up()
    archive_closed_days()
    purge()

    with pytest.raises(EventsArchived):
        usage_as_known(meter_key="actions", customer_id="cust_a", period=PERIOD, known_through=known)
    since = usage_as_known(meter_key="actions", customer_id="cust_a", period=PERIOD, known_through=2**62)
    assert since.quantity == 0


@pytest.mark.django_db
def test_a_level_that_an_archived_hour_carries_in_is_not_forgotten() -> None:
    counted_months("time_weighted_sum")
    following = Period(months_ago(16), months_ago(15))
    billed = billing_usage(meter_keys=["actions"], customer_id="cust_a", period=following)["actions"].quantity
    purge()

    after = billing_usage(meter_keys=["actions"], customer_id="cust_a", period=following)["actions"].quantity
    with pytest.raises(EventsArchived):
        usage_as_known(meter_key="actions", customer_id="cust_a", period=following, known_through=2**62)

    assert billed == after > Decimal(0)


@pytest.mark.django_db
def test_a_period_that_cuts_an_archived_hour_says_archived() -> None:
    counted_months()
    purge()
    cut = Period(HOUR + timedelta(minutes=15), OLD + timedelta(days=28))

    with pytest.raises(EventsArchived):
        usage_between(meter_key="actions", customer_id="cust_a", period=cut)
    assert retention(at=now()).months == ()
