"""Meter events: accepted at once, judged later; what is refused then is told by an error report, as Stripe does."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

from django.conf import settings
from django.db import connection, transaction

from billing_site.kernel.clock import now
from billing_site.sandbox import alarm
from billing_site.sandbox.models import SandboxDelivery
from billing_site.sandbox.stripe import store
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.errors import invalid, missing_parameter
from billing_site.sandbox.stripe.store import Body

DAY = int(timedelta(days=1).total_seconds())
PAST_DAYS_MAX = 35
AHEAD_SECONDS_MAX = 300
DIGITS_MAX = 15
IDENTIFIER_LENGTH_MAX = 100
ERROR_REPORT = "v1.billing.meter.error_report_triggered"
NO_METER = "v1.billing.meter.no_meter_found"


def create(call: Call) -> Body:
    """POST /v1/billing/meter_events: refuses what nobody can ever count, and an identifier of the last day; the rest is judged later."""
    event_name = call.params.required("event_name")
    identifier = call.params.text("identifier") or store.new_id("billing.meter_event")
    payload = call.params.hash("payload")
    at = store.timestamp()
    moment = call.params.integer("timestamp")
    moment = at if moment is None else moment
    if payload is None:
        raise missing_parameter("payload")
    given = payload.all_texts()
    call.params.refuse_the_rest()
    if len(identifier) > IDENTIFIER_LENGTH_MAX:
        raise invalid("The identifier is too long.", param="identifier")
    _refuse_value(given.get("value", ""))
    _lock(identifier)
    if any(known["created"] > at - DAY for known in store.matching("billing.meter_event", identifier=identifier)):
        raise invalid(f"An event already exists with identifier {identifier}.", param="identifier")
    wrong = _wrong(event_name, given, moment, at)
    kept = store.create(
        "billing.meter_event",
        {
            "created": at,
            "event_name": event_name,
            "identifier": identifier,
            "livemode": False,
            "payload": given,
            "timestamp": moment,
            "_counts": not wrong,
        },
    )
    if wrong:
        _report(kept, *wrong)
    return _shown(kept)


def adjust(call: Call) -> Body:
    """POST /v1/billing/meter_event_adjustments: cancels one event that came within the last day."""
    event_name = call.params.required("event_name")
    if call.params.choice("type", ("cancel",)) is None:
        raise missing_parameter("type")
    cancel = call.params.hash("cancel")
    if cancel is None:
        raise missing_parameter("cancel")
    identifier = cancel.required("identifier")
    cancel.refuse_the_rest()
    call.params.refuse_the_rest()
    _lock(identifier)
    found = store.matching("billing.meter_event", identifier=identifier, event_name=event_name)
    recent = [event for event in found if event["created"] > store.timestamp() - DAY]
    if not recent:
        raise invalid(f"No event within the last 24 hours has the identifier {identifier}.", param="cancel[identifier]")
    if "_cancelled" in recent[-1]:
        raise invalid(f"The event {identifier} was cancelled already.", param="cancel[identifier]")
    store.save({**recent[-1], "_counts": False, "_cancelled": True})
    return {
        "object": "billing.meter_event_adjustment",
        "cancel": {"identifier": identifier},
        "event_name": event_name,
        "livemode": False,
        "status": "complete",
        "type": "cancel",
    }


def retrieve_thin(call: Call, event_id: str) -> Body:
    """GET /v2/core/events/{id}: the whole of an event whose notice names its subject only."""
    call.params.refuse_the_rest()
    return store.retrieve("v2.core.event", event_id)


def notice_of(event: Body) -> Body:
    """Return what a webhook says of such an event: without its data."""
    return {name: member for name, member in event.items() if name != "data"}


def refuse_on_demand(call: Call) -> Body:
    """POST /_sandbox/meter_events of an `identifier` with a `code`: Stripe finds out later that it cannot count the event."""
    identifier, code = call.params.required("identifier"), call.params.required("code")
    call.params.refuse_the_rest()
    found = store.matching("billing.meter_event", identifier=identifier)
    if not found:
        raise invalid(f"There is no event with identifier {identifier}.", param="identifier")
    event = store.save({**found[-1], "_counts": False})
    _report(event, code, "A refusal that was ordered.")
    return _shown(event)


def _shown(event: Body) -> Body:
    return {name: member for name, member in event.items() if name != "id" and not name.startswith("_")}


def _lock(identifier: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"meter event {identifier}"])


def _refuse_value(value: str) -> None:
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise invalid("The value in the event payload is not a number.", param="payload[value]") from None
    if not number.is_finite():
        raise invalid("The value in the event payload is not a number.", param="payload[value]")
    if len(number.normalize().as_tuple().digits) > DIGITS_MAX:
        message = f"The value in the event payload can have at most {DIGITS_MAX} digits. Received {value}."
        raise invalid(message, param="payload[value]")


def _wrong(event_name: str, payload: dict[str, str], moment: int, at: int) -> tuple[str, str] | None:
    """Return the code and words by which an accepted event is refused later, or None."""
    active = store.matching("billing.meter", event_name=event_name, status="active")
    if not active:
        archived = store.matching("billing.meter", event_name=event_name)
        return ("archived_meter", "The meter is archived.") if archived else ("no_meter", "There is no such meter.")
    customer = payload.get(active[-1]["customer_mapping"]["event_payload_key"], "")
    if not customer:
        return "meter_event_no_customer_defined", "The payload names no customer."
    if store.find("customer", customer) is None:
        return "meter_event_customer_not_found", f"There is no customer {customer}."
    if moment < at - PAST_DAYS_MAX * DAY:
        return "timestamp_too_far_in_past", "The timestamp is more than 35 days ago."
    if moment > at + AHEAD_SECONDS_MAX:
        return "timestamp_in_future", "The timestamp is in the future."
    return None


def _report(event: Body, code: str, message: str) -> None:
    """Write an error report about one event and send its notice to the product's own address."""
    meters = store.matching("billing.meter", event_name=event["event_name"])
    about = (
        {"id": meters[-1]["id"], "type": "billing.meter", "url": f"/v1/billing/meters/{meters[-1]['id']}"}
        if meters
        else None
    )
    at = datetime.fromtimestamp(store.timestamp(), tz=UTC)
    sample = {"error_message": message, "request": {"identifier": event["identifier"]}}
    body = {
        "context": None,
        "created": _written(at),
        "data": {
            "developer_message_summary": f"There is 1 invalid event: {code}",
            "reason": {
                "error_count": 1,
                "error_types": [{"code": code, "error_count": 1, "sample_errors": [sample]}],
            },
            "validation_end": _written(at),
            "validation_start": _written(at - timedelta(seconds=10)),
        },
        "livemode": False,
        "reason": None,
        "type": ERROR_REPORT if about else NO_METER,
    }
    if about:
        body["related_object"] = about
    kept = store.create("v2.core.event", body)
    SandboxDelivery.objects.create(
        event=kept["id"], endpoint="", url=settings.SANDBOX_WEBHOOK_URL, next_attempt_at=now()
    )
    transaction.on_commit(alarm.ring)


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
