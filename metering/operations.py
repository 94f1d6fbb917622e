"""What may happen to meters."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from django.db import IntegrityError, connection, transaction

from billing_site.kernel.errors import Conflict, InvalidFields, InvalidInput
from billing_site.kernel.history import save_with_reason
from metering.archiving.absent import purged_until
from metering.core.definition import MeterDefinition, check_meter
from metering.listing import list_span_again
from metering.models import THE_BEGINNING, Meter, MeterBackdating


@transaction.atomic
def create_meter(
    *,
    key: str,
    name: str,
    event_type: str,
    aggregation: str = "sum",
    value_property: str = "",
    unit: str = "unit",
    filters: Mapping[str, Sequence[str]] | None = None,
    dimensions: Sequence[str] = (),
    effective_from: datetime | None = None,
    actor: str,
    reason: str,
) -> Meter:
    """Create a meter, or return the one that has this key and counts the same; a second call changes nothing.

    Without `effective_from` the meter counts from the beginning, unless events of its type exist already: then from
    now on. A new meter never bills what happened before anybody thought of it; `backdate_meter` says otherwise.
    Name and unit of an existing meter follow the call. Raises InvalidFields, or Conflict where the
    existing meter counts something else: what was billed by it must keep its meaning.
    """
    definition = MeterDefinition(
        key,
        name,
        event_type,
        aggregation,
        value_property,
        unit,
        {} if filters is None else filters,
        dimensions,
        effective_from,
    )
    if errors := check_meter(definition=definition):
        raise InvalidFields(errors)
    meter = Meter.objects.select_for_update().filter(key=key).first()
    if meter is None:
        try:
            with transaction.atomic():
                meter = Meter(
                    key=key,
                    name=name,
                    unit=unit,
                    effective_from=_effective_from(effective_from, event_type),
                    **definition.meaning(),
                )
                save_with_reason(meter, actor=actor, reason=reason)
            return meter
        except IntegrityError:
            # Somebody else created it at the same moment: theirs is compared to ours.
            meter = Meter.objects.select_for_update().get(key=key)
    _refuse_other_meaning(meter, definition)
    if (meter.name, meter.unit) != (name, unit):
        meter.name, meter.unit = name, unit
        save_with_reason(meter, actor=actor, reason=reason)
    return meter


@transaction.atomic
def backdate_meter(*, key: str, effective_from: datetime, actor: str, reason: str) -> Meter:
    """Let a meter count from an earlier moment on; the next rollup counts what happened between.

    What was billed stays as it was known; the difference is late usage. Raises InvalidInput for a moment that is not
    earlier than the present one, Conflict for an unknown meter.
    """
    meter = Meter.objects.select_for_update().filter(key=key).first()
    if meter is None:
        raise Conflict(f"there is no meter {key!r}", field="meter")
    effective_from = max(effective_from, THE_BEGINNING)
    if effective_from >= meter.effective_from:
        raise InvalidInput(
            f"must be earlier than {meter.effective_from:%Y-%m-%dT%H:%M:%SZ}, from when {key} counts now",
            field="effective_from",
            code="out_of_range",
        )
    _refuse_purged(effective_from)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO metering_meterbackdating (number, meter_id, effective_before, effective_from, reason, actor)
            VALUES (nextval('metering_usageevent_id_seq'), %s, %s, %s, %s, %s)
            """,
            [meter.pk, meter.effective_from, effective_from, reason, actor],
        )
    before, meter.effective_from = meter.effective_from, effective_from
    save_with_reason(meter, actor=actor, reason=reason)
    list_span_again(event_type=meter.event_type, start=effective_from, end=before)
    assert MeterBackdating.objects.filter(meter=meter, effective_from=effective_from).exists()
    return meter


def _effective_from(wanted: datetime | None, event_type: str) -> datetime:
    if wanted is not None:
        _refuse_purged(wanted)
        return wanted
    purged = purged_until()
    default = _default_effective_from(event_type)
    return default if purged is None else max(default, purged + timedelta(microseconds=1))


def _refuse_purged(effective_from: datetime) -> None:
    """Refuse a beginning before events that only the archive holds: the meter would not count them, and nobody would see."""
    purged = purged_until()
    if purged is not None and effective_from <= purged:
        raise InvalidInput(
            f"must be later than {purged:%Y-%m-%dT%H:%M:%SZ}: events until then are archived and cannot be counted; "
            "restore their months first",
            field="effective_from",
            code="archived",
        )


def _default_effective_from(event_type: str) -> datetime:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT CASE WHEN EXISTS (SELECT FROM metering_usageevent WHERE event_type = %s)
                        THEN statement_timestamp() ELSE %s END
            """,
            [event_type, THE_BEGINNING],
        )
        moment: datetime = cursor.fetchone()[0]
        return moment


def _refuse_other_meaning(meter: Meter, definition: MeterDefinition) -> None:
    for field, wanted in definition.meaning().items():
        existing = getattr(meter, field)
        if existing != wanted:
            raise Conflict(
                f"the meter {meter.key} exists with {field} {existing!r}, not {wanted!r}; "
                "what it counts cannot change, so create a meter with another key",
                field=field,
            )
    if definition.effective_from is not None and definition.effective_from != meter.effective_from:
        raise Conflict(
            f"the meter {meter.key} counts from {meter.effective_from:%Y-%m-%dT%H:%M:%SZ}; it can only be dated back",
            field="effective_from",
        )
