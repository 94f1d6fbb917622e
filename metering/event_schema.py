"""What the machine face of single events takes and answers, as OpenAPI schemas."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiTypes

from metering.core.amending import CHANGEABLE
from metering.queries.events import STATES
from metering.schema import PAGE

_MOMENT = {"type": "string", "format": "date-time", "example": "2026-07-01T12:00:00.000Z"}
_DECIMAL = {"type": "string", "format": "decimal", "example": "1"}
_NUMBER = {"type": "integer", "description": "The place in the order of acceptance."}
_CURSOR = {"type": "string", "nullable": True}

_CHANGES = {
    "event_type": {"type": "string"},
    "quantity": _DECIMAL,
    "timestamp": _MOMENT,
    "namespace_id": {"type": "string"},
    "properties": {"type": "object", "additionalProperties": True, "description": "They replace the old as a whole."},
}
assert tuple(_CHANGES) == CHANGEABLE, "the document names what can be changed"
CORRECTION = {
    "application/json": {
        "type": "object",
        "required": ["customer_id", "idempotency_key", "action", "reason"],
        "additionalProperties": False,
        "properties": {
            "customer_id": {"type": "string"},
            "idempotency_key": {"type": "string", "description": "The key under which the event was accepted first."},
            "action": {"type": "string", "enum": ["cancel", "amend"]},
            "changes": {"type": "object", "properties": _CHANGES, "description": "Of an amendment: what is right."},
            "reason": {"type": "string"},
        },
        "example": {
            "customer_id": "cust_acme",
            "idempotency_key": "ns-wf-action-1",
            "action": "amend",
            "changes": {"quantity": "2"},
            "reason": "The retry was counted as one action",
        },
    }
}
_CANCELLATION: dict[str, Any] = {
    "type": "object",
    "nullable": True,
    "required": ["number", "event_number", "replacement_number", "actor", "reason", "cancelled_at"],
    "properties": {
        "number": {**_NUMBER, "description": "From this number on the event does not count."},
        "event_number": _NUMBER,
        "replacement_number": {**_NUMBER, "nullable": True},
        "actor": {"type": "string"},
        "reason": {"type": "string"},
        "cancelled_at": _MOMENT,
    },
}
_EVENT: dict[str, Any] = {
    "number": _NUMBER,
    "event_id": {"type": "string"},
    "idempotency_key": {"type": "string"},
    "customer_id": {"type": "string"},
    **_CHANGES,
    "received_at": _MOMENT,
}
EVENT = {
    "type": "object",
    "required": [*_EVENT, "state", "meters", "cancellation", "replaced_by", "replaces", "conflicts"],
    "properties": {
        **_EVENT,
        "state": {"type": "string", "enum": list(STATES)},
        "meters": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["meter", "state", "hour", "grouping", "counted", "window_value"],
                "properties": {
                    "meter": {"type": "string"},
                    "state": {"type": "string"},
                    "hour": _MOMENT,
                    "grouping": {"type": "string", "description": "The dimensions' values as a JSON array."},
                    "counted": {**_DECIMAL, "nullable": True},
                    "window_value": {**_DECIMAL, "nullable": True, "description": "The hour's value with this event."},
                },
            },
        },
        "cancellation": _CANCELLATION,
        "replaced_by": {"type": "string", "nullable": True, "description": "The replacement's key."},
        "replaces": {"type": "string", "nullable": True, "description": "The key of the event it replaces."},
        "conflicts": {"type": "integer", "description": "How many contradicting contents were refused."},
    },
}
CORRECTED = {
    "type": "object",
    "required": ["action", "correction", "event", "replacement"],
    "properties": {
        "action": {"type": "string", "enum": ["cancel", "amend"]},
        "correction": _CANCELLATION,
        "event": EVENT,
        "replacement": {**EVENT, "nullable": True},
    },
}
_CONFLICT = {
    "type": "object",
    "required": [
        "customer_id",
        "idempotency_key",
        "event_number",
        "accepted",
        "refused",
        "times_seen",
        "first_seen_at",
        "last_seen_at",
        "outcome",
    ],
    "properties": {
        "customer_id": {"type": "string"},
        "idempotency_key": {"type": "string"},
        "event_number": _NUMBER,
        "accepted": {"type": "object", "nullable": True, "additionalProperties": True},
        "refused": {"type": "object", "additionalProperties": True},
        "times_seen": {"type": "integer"},
        "first_seen_at": _MOMENT,
        "last_seen_at": _MOMENT,
        "outcome": {"type": "string", "enum": ["", "kept", "amended"], "description": "Empty: nobody has settled it."},
    },
}
_UNAPPLIED = {
    "type": "object",
    "required": [
        "event_number",
        "customer_id",
        "idempotency_key",
        "event_type",
        "timestamp",
        "received_at",
        "reason",
        "message",
        "meter",
    ],
    "properties": {
        "event_number": _NUMBER,
        "customer_id": {"type": "string"},
        "idempotency_key": {
            "type": "string",
            "nullable": True,
            "description": "What it is corrected by; null where the event is purged and in the archive only.",
        },
        "event_type": {"type": "string"},
        "timestamp": _MOMENT,
        "received_at": _MOMENT,
        "reason": {"type": "string"},
        "message": {"type": "string"},
        "meter": {"type": "string", "nullable": True, "description": "The meter that cannot read it."},
    },
}


def _page(rows: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["data", "next", "previous"],
        "properties": {"data": {"type": "array", "items": rows}, "next": _CURSOR, "previous": _CURSOR},
    }


CONFLICTS, UNAPPLIED = _page(_CONFLICT), _page(_UNAPPLIED)
OF_CUSTOMER = OpenApiParameter("customer_id", description="Only of this customer.")
CONFLICT_PARAMETERS = [
    OF_CUSTOMER,
    OpenApiParameter("settled", OpenApiTypes.BOOL, description="Only settled ones, or only those that wait."),
    *PAGE,
]
UNAPPLIED_PARAMETERS = [OF_CUSTOMER, OpenApiParameter("reason", description="Only with this reason."), *PAGE]
EVENT_PARAMETERS = [
    OpenApiParameter("customer_id", description="The customer's key; a key bound to a customer may leave it out.")
]
