"""Meters: how events of one name become a quantity of a customer, and what they have made of them so far."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

from billing_site.sandbox.stripe import store
from billing_site.sandbox.stripe.call import Call
from billing_site.sandbox.stripe.errors import invalid, missing_parameter
from billing_site.sandbox.stripe.store import Body

HOUR = int(timedelta(hours=1).total_seconds())
GROUPINGS = {"hour": HOUR, "day": 24 * HOUR}
MINUTE = 60


def create(call: Call) -> Body:
    """POST /v1/billing/meters."""
    aggregation, mapping, value = (
        call.params.hash(name) for name in ("default_aggregation", "customer_mapping", "value_settings")
    )
    if aggregation is None:
        raise missing_parameter("default_aggregation")
    formula = aggregation.choice("formula", ("count", "last", "sum"))
    if formula is None:
        raise missing_parameter("default_aggregation[formula]")
    event_name = call.params.required("event_name")
    if store.matching("billing.meter", event_name=event_name, status="active"):
        raise invalid(f"There is an active meter with the event name {event_name} already.", param="event_name")
    at = store.timestamp()
    body = {
        "created": at,
        "customer_mapping": {
            "event_payload_key": (mapping.text("event_payload_key") if mapping else None) or "stripe_customer_id",
            "type": "by_id",
        },
        "default_aggregation": {"formula": formula},
        "display_name": call.params.required("display_name"),
        "event_name": event_name,
        "event_time_window": None,
        "livemode": False,
        "status": "active",
        "status_transitions": {"deactivated_at": None},
        "updated": at,
        "value_settings": {"event_payload_key": (value.text("event_payload_key") if value else None) or "value"},
    }
    if mapping:
        mapping.choice("type", ("by_id",))
        mapping.refuse_the_rest()
    call.params.refuse_the_rest()
    return store.create("billing.meter", body)


def retrieve(call: Call, meter_id: str) -> Body:
    """GET /v1/billing/meters/{id}."""
    call.params.refuse_the_rest()
    return store.retrieve("billing.meter", meter_id)


def list_page(call: Call) -> Body:
    """GET /v1/billing/meters, narrowed by `status`."""
    status = call.params.choice("status", ("active", "inactive"))
    found = store.page(
        "billing.meter", call.params, url="/v1/billing/meters", members={"status": status} if status else {}
    )
    call.params.refuse_the_rest()
    return found


def deactivate(call: Call, meter_id: str) -> Body:
    """POST /v1/billing/meters/{id}/deactivate: its events are refused from now on."""
    call.params.refuse_the_rest()
    meter = store.lock("billing.meter", meter_id)
    at = store.timestamp()
    meter.update({"status": "inactive", "status_transitions": {"deactivated_at": at}, "updated": at})
    return store.save(meter)


def list_summaries(call: Call, meter_id: str) -> Body:
    """GET /v1/billing/meters/{id}/event_summaries of a `customer` in [start_time, end_time), whole or by hour or day."""
    meter = store.retrieve("billing.meter", meter_id)
    customer = call.params.required("customer")
    start, end = (call.params.integer(name) for name in ("start_time", "end_time"))
    if start is None or end is None:
        raise missing_parameter("start_time" if start is None else "end_time")
    grouping = call.params.choice("value_grouping_window", tuple(GROUPINGS))
    limit = call.params.integer("limit", low=1, high=100) or 10
    call.params.refuse_the_rest()
    step = GROUPINGS.get(grouping or "", end - start)
    if start >= end or start % (step if grouping else MINUTE) or end % (step if grouping else MINUTE):
        raise invalid("start_time and end_time must be aligned, and in this order.", param="start_time")
    events = store.matching(
        "billing.meter_event", event_name=meter["event_name"], _counts=True, payload={"stripe_customer_id": customer}
    )
    sums: dict[int, Decimal] = {}
    for event in events:
        if start <= event["timestamp"] < end:
            first = start + (event["timestamp"] - start) // step * step
            sums[first] = sums.get(first, Decimal(0)) + Decimal(event["payload"]["value"])
    found = [
        {
            "id": f"mtrusg_{meter_id}_{first}",
            "object": "billing.meter_event_summary",
            "aggregated_value": _number(sums[first]),
            "end_time": first + step,
            "livemode": False,
            "meter": meter_id,
            "start_time": first,
        }
        for first in sorted(sums, reverse=True)
    ]
    url = f"/v1/billing/meters/{meter_id}/event_summaries"
    return {"object": "list", "data": found[:limit], "has_more": len(found) > limit, "url": url}


def _number(total: Decimal) -> Any:
    """Return a sum as the JSON number that Stripe writes."""
    return json.loads(f"{total:f}")
