"""What the machine face of metering takes and answers, as OpenAPI schemas."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from metering.core.definition import AGGREGATIONS, DIMENSIONS_MAX
from metering.core.parsing import REQUIRED, TEXT_LENGTHS

_DECIMAL = {"type": "string", "format": "decimal", "example": "15000000"}
_MOMENT = {"type": "string", "format": "date-time", "example": "2026-07-01T12:00:00.000Z"}
_COUNT = {"type": "integer", "minimum": 0}

_EVENT: dict[str, Any] = {
    "type": "object",
    "required": list(REQUIRED),
    "additionalProperties": False,
    "properties": {
        **{name: {"type": "string", "minLength": 1, "maxLength": length} for name, length in TEXT_LENGTHS.items()},
        "timestamp": _MOMENT,
        "quantity": {"oneOf": [{"type": "string", "format": "decimal"}, {"type": "number", "minimum": 0}]},
        "properties": {"type": "object", "additionalProperties": True},
    },
    "example": {
        "event_id": "evt_01",
        "idempotency_key": "ns-wf-action-1",
        "event_type": "action.consumed",
        "timestamp": "2026-07-01T12:00:00.000Z",
        "customer_id": "cust_acme",
        "quantity": "1",
        "namespace_id": "ns-prod",
        "properties": {"region": "us-east-1"},
    },
}
EVENTS = {
    "application/json": {
        "oneOf": [
            _EVENT,
            {
                "type": "object",
                "required": ["events"],
                "properties": {"events": {"type": "array", "maxItems": 10_000, "items": _EVENT}},
            },
        ]
    },
    "application/x-ndjson": {"type": "string", "description": "One event object per line."},
}
_REJECTION = {
    "type": "object",
    "required": ["index", "field", "code", "message"],
    "properties": {
        "index": _COUNT,
        "field": {"type": "string"},
        "code": {"type": "string"},
        "message": {"type": "string"},
    },
}
RECEIPTS = {
    202: {
        "type": "object",
        "required": ["accepted", "duplicates", "rejected"],
        "properties": {
            "accepted": _COUNT,
            "duplicates": _COUNT,
            "rejected": {"type": "array", "items": _REJECTION},
        },
    },
    415: OpenApiResponse(description="Neither application/json nor application/x-ndjson."),
}
USAGE = {
    "type": "object",
    "required": ["total", "windows"],
    "properties": {
        "total": _DECIMAL,
        "windows": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["start", "end", "value", "group"],
                "properties": {
                    "start": _MOMENT,
                    "end": _MOMENT,
                    "value": _DECIMAL,
                    "group": {"type": "string", "nullable": True},
                },
            },
        },
    },
}
_METER_PROPERTIES = {
    "key": {"type": "string", "maxLength": 100, "pattern": "^[-a-zA-Z0-9_]+$"},
    "name": {"type": "string", "maxLength": 200},
    "event_type": {"type": "string", "maxLength": 200},
    "aggregation": {"type": "string", "enum": list(AGGREGATIONS), "default": "sum"},
    "value_property": {"type": "string", "description": "The property that is counted; empty: the event's quantity."},
    "unit": {"type": "string", "maxLength": 50, "default": "unit"},
    "filters": {
        "type": "object",
        "additionalProperties": {"type": "array", "items": {"type": "string"}},
        "description": "Only events with one of these values in each of these properties count.",
    },
    "dimensions": {
        "type": "array",
        "items": {"type": "string"},
        "maxItems": DIMENSIONS_MAX,
        "description": "Usage is kept apart by these properties.",
    },
    "effective_from": {**_MOMENT, "description": "Events with an earlier timestamp do not count."},
}
NEW_METER = {
    "application/json": {
        "type": "object",
        "required": ["key", "event_type"],
        "properties": _METER_PROPERTIES,
        "example": {
            "key": "tokens",
            "name": "Tokens",
            "event_type": "tokens.used",
            "aggregation": "sum",
            "unit": "token",
        },
    }
}
METER = {
    "type": "object",
    "required": [*_METER_PROPERTIES, "created_at"],
    "properties": {**_METER_PROPERTIES, "created_at": _MOMENT},
}
_CURSOR = {"type": "string", "nullable": True}
METER_PAGE = {
    "type": "object",
    "required": ["data", "next", "previous"],
    "properties": {"data": {"type": "array", "items": METER}, "next": _CURSOR, "previous": _CURSOR},
}
PAGE = [
    OpenApiParameter("cursor", description="`next` or `previous` of another page."),
    OpenApiParameter("limit", int, description="Rows on a page, 1 to 200."),
]
