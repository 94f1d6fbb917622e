"""The events that benchmarks send: four types, 200 customers of different size, in the order of time."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

CUSTOMERS = 200
TYPES = 4
REGIONS = 3


def customer(number: int) -> str:
    """Return a customer's key: the square makes few customers large and many small, as in life."""
    share = (number * 7919 % 10_007) / 10_007
    return f"cust_{int(CUSTOMERS * share * share):04d}"


def documents(*, series: str, count: int, start: datetime, step: timedelta) -> Iterator[dict[str, Any]]:
    """Yield events as they go over the wire, about 330 bytes each; a series has keys of its own."""
    for number in range(count):
        yield {
            "event_id": f"evt_{series}_{number:012d}",
            "idempotency_key": f"ns-prod-wf-{series}-{number:012d}",
            "event_type": f"action.{number % TYPES}",
            "timestamp": (start + number * step).isoformat(),
            "customer_id": customer(number),
            "quantity": str(number % 1000),
            "namespace_id": "ns-prod",
            "properties": {"region": f"us-east-{number % REGIONS}", "action_type": "workflow_execution_started"},
        }


def bodies(*, found: Sequence[dict[str, Any]], size: int, ndjson: bool) -> list[bytes]:
    """Encode events as the bodies of requests."""
    batches = [found[begin : begin + size] for begin in range(0, len(found), size)]
    if ndjson:
        return ["\n".join(map(json.dumps, batch)).encode() for batch in batches]
    return [json.dumps({"events": batch} if size > 1 else batch[0]).encode() for batch in batches]
