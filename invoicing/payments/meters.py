"""Stripe's billing meters: which there are, what they are told, and what they made of it; accepted there is not yet counted (S4-016).

Reference: docs.stripe.com/api/billing/meter-event, meter-event-adjustment, meter-event-summary.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from invoicing.payments.gateway import client, stripe_errors
from invoicing.payments.remote import GatewayRefused

# What our reports are made of; a meter that reads others would count nothing of them (S4-006).
CUSTOMER_KEY = "stripe_customer_id"
VALUE_KEY = "value"


@dataclass(frozen=True)
class RemoteMeter:
    """A meter at Stripe; `mistake` says in words why our reports would not be counted by it, "" where they are."""

    id: str
    event_name: str
    mistake: str


@dataclass(frozen=True)
class RemoteRefusal:
    """One refused event of an error report: Stripe's identifier or idempotency key of its request, its code and its words."""

    identifier: str
    code: str
    message: str


@dataclass(frozen=True)
class ErrorReport:
    """What Stripe refused after it had accepted it: some examples of all that were refused."""

    meter: str
    error_count: int
    refusals: tuple[RemoteRefusal, ...]


def find_meter(*, event_name: str) -> RemoteMeter | None:
    """Return the active meter of an event name. Raises GatewayUnavailable, GatewayRefused."""
    with stripe_errors():
        for meter in client().v1.billing.meters.list({"status": "active", "limit": 100}).auto_paging_iter():
            if meter.event_name == event_name:
                return RemoteMeter(id=meter.id, event_name=meter.event_name, mistake=_mistake(meter))
    return None


def create_meter_event(
    *,
    event_name: str,
    identifier: str,
    customer: str,
    value: str,
    happened_at: datetime,
    correlation: dict[str, str],
    idempotency_key: str,
) -> str:
    """Tell a meter of usage and return Stripe's request id: accepted for processing, nothing more (S4-011, S4-020).

    Raises GatewayUnavailable where it may be tried again with the same keys; GatewayRefused for good (`is_there_already` tells where
    Stripe has the identifier).
    """
    with stripe_errors():
        created = client().v1.billing.meter_events.create(
            {
                "event_name": event_name,
                "identifier": identifier,
                "payload": {CUSTOMER_KEY: customer, VALUE_KEY: value, **correlation},
                "timestamp": int(happened_at.timestamp()),
            },
            {"idempotency_key": idempotency_key},
        )
    return _request_id(created)


def cancel_meter_event(*, event_name: str, identifier: str, idempotency_key: str) -> str:
    """Take an event back that Stripe received within the last 24 hours, and return Stripe's request id (S4-040)."""
    with stripe_errors():
        created = client().v1.billing.meter_event_adjustments.create(
            {"event_name": event_name, "type": "cancel", "cancel": {"identifier": identifier}},
            {"idempotency_key": idempotency_key},
        )
    return _request_id(created)


def sums_by_day(*, meter: str, customer: str, start: datetime, end: datetime) -> dict[datetime, Decimal]:
    """Return what a meter has counted for a customer on each UTC day of [start, end), whole days; a day without usage may be left out.

    It lags behind what was sent: it is no answer to "did it arrive?" (S4-056).
    """
    with stripe_errors():
        found = client().v1.billing.meters.event_summaries.list(
            meter,
            {
                "customer": customer,
                "start_time": int(start.timestamp()),
                "end_time": int(end.timestamp()),
                "value_grouping_window": "day",
                "limit": 100,
            },
        )
        # The shortest text of Stripe's number is the number that was meant: it has fifteen digits at most.
        return {
            datetime.fromtimestamp(one.start_time, tz=UTC): Decimal(str(one.aggregated_value))
            for one in found.auto_paging_iter()
        }


def retrieve_error_report(*, event: str) -> ErrorReport:
    """Return what an event of `v1.billing.meter.error_report_triggered` tells; the notice itself names the meter only (S4-035)."""
    with stripe_errors():
        body = client().v2.core.events.retrieve(event).to_dict(for_json=True)
    reason = body["data"]["reason"]
    return ErrorReport(
        meter=body["related_object"]["id"],
        error_count=reason["error_count"],
        refusals=tuple(
            RemoteRefusal(identifier=one["request"]["identifier"], code=kind["code"], message=one["error_message"])
            for kind in reason["error_types"]
            for one in kind["sample_errors"]
        ),
    )


def is_there_already(error: GatewayRefused) -> bool:
    """Say whether Stripe refused an event because it has one with this identifier."""
    return "already exists" in error.message and "identifier" in error.message


def _mistake(meter: Any) -> str:
    if meter.default_aggregation.formula != "sum":
        return f"it aggregates by {meter.default_aggregation.formula}: only a sum takes pieces and corrections"
    if meter.customer_mapping.event_payload_key != CUSTOMER_KEY:
        return f"it reads the customer from {meter.customer_mapping.event_payload_key}, not from {CUSTOMER_KEY}"
    if meter.value_settings.event_payload_key != VALUE_KEY:
        return f"it reads the quantity from {meter.value_settings.event_payload_key}, not from {VALUE_KEY}"
    return ""


def _request_id(answer: Any) -> str:
    response = getattr(answer, "last_response", None)
    return getattr(response, "request_id", None) or ""
