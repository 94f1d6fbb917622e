"""What may happen to meters."""

from django.db import IntegrityError, transaction

from billing_site.kernel.errors import Conflict, InvalidFields
from billing_site.kernel.history import save_with_reason
from metering.core.definition import MeterDefinition, check_meter
from metering.models import Meter


@transaction.atomic
def create_meter(
    *,
    key: str,
    name: str,
    event_type: str,
    aggregation: str = "sum",
    value_property: str = "",
    unit: str = "unit",
    actor: str,
    reason: str,
) -> Meter:
    """Create a meter, or return the one that has this key and counts the same; a second call changes nothing.

    Name and unit of an existing meter follow the call. Raises InvalidFields, or Conflict where the
    existing meter counts something else: what was billed by it must keep its meaning.
    """
    definition = MeterDefinition(key, name, event_type, aggregation, value_property, unit)
    if errors := check_meter(definition=definition):
        raise InvalidFields(errors)
    meter = Meter.objects.select_for_update().filter(key=key).first()
    if meter is None:
        try:
            with transaction.atomic():
                meter = Meter(**definition.fields())
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


def _refuse_other_meaning(meter: Meter, definition: MeterDefinition) -> None:
    for field in ("event_type", "aggregation", "value_property"):
        existing, wanted = getattr(meter, field), getattr(definition, field)
        if existing != wanted:
            raise Conflict(
                f"the meter {meter.key} exists with {field} {existing!r}, not {wanted!r}; "
                "what it counts cannot change, so create a meter with another key",
                field=field,
            )
