"""What happens after the bills in real life: late usage, a retry that contradicts, a correction; so that no desk is empty."""

import json
from datetime import datetime, timedelta
from typing import Any

import requests

from billing_site.demo.company import CUSTOMERS
from billing_site.demo.errors import DemoFailed
from billing_site.demo.months import Leg
from billing_site.demo.sending import TIMEOUT_SECONDS, send_events
from billing_site.demo.usage import usage_of
from invoicing.customers.operations import change_customer
from invoicing.customers.queries import customer_by_key

# Wants to be asked before late usage is charged; the others let it go to the next invoice.
ASKS = "cust_brightpath"
LATE = {ASKS: 40, "cust_lumen_health": 25, "cust_cobalt_legal": 3}
CONTRADICTS = "cust_northwind"
CORRECTS = "cust_pinecone_retail"


def send_aftermath(*, legs: list[Leg], created_at: datetime, url: str, key: str) -> int:
    """Send usage that is late for the last closed month, a contradiction and a correction, each once for ever.

    Returns how many events are accepted with it. Raises DemoFailed.
    """
    customer = customer_by_key(key=ASKS)
    if customer.late_usage_policy != "ask":
        change_customer(
            customer=customer, changes={"late_usage_policy": "ask"}, actor="demo", reason="agreed with the customer"
        )
    closed = [leg for leg in legs if leg.is_billed][-1]
    late = list(_late_events(closed))
    receipt = send_events(url=url, key=key, lines=late, progress=lambda _: None)
    first_day = legs[0].start
    spoken = [json.loads(line) for line in usage_of(leg=closed, first_day=first_day, created_at=created_at)]
    _contradict(next(event for event in spoken if event["customer_id"] == CONTRADICTS), url=url, key=key)
    _correct(next(event for event in spoken if event["customer_id"] == CORRECTS), url=url, key=key)
    assert receipt.accepted + receipt.duplicates == len(late), "late events are accepted like others"
    return len(late)


def _late_events(closed: Leg) -> list[bytes]:
    plans = {customer.key: customer for customer in CUSTOMERS}
    assert all(plans[customer].plan.startswith("search") for customer in LATE), "they answer questions"
    # The middle of the month: a day of searches whose sender had lost its way to us.
    day = closed.start.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=14, hours=9)
    lines = []
    for customer, count in LATE.items():
        for number in range(count):
            moment = day + timedelta(minutes=7 * number)
            event = {
                "event_id": f"evt-outage-{customer}-{number}",
                "idempotency_key": f"outage-{customer}-{number}",
                "event_type": "search.answered",
                "timestamp": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
                "customer_id": customer,
                "quantity": str(90 + 7 * number),
                "properties": {"region": "us-east"},
            }
            lines.append(json.dumps(event).encode())
    return lines


def _contradict(event: dict[str, Any], *, url: str, key: str) -> None:
    """Send an accepted event again with ten times its quantity: it is refused, and listed with both contents."""
    answer = _post(f"{url}/api/v1/events", event | {"quantity": f"{event['quantity']}0"}, key=key)
    if answer.status_code != requests.codes.unprocessable or answer.json()["errors"][0]["code"] != "conflict":
        raise DemoFailed(f"a contradiction was answered {answer.status_code}: {answer.text[:500]}")


def _correct(event: dict[str, Any], *, url: str, key: str) -> None:
    """Cancel an event of an issued invoice: the invoice stays, the customer gets the difference."""
    correction = {
        "customer_id": event["customer_id"],
        "idempotency_key": event["idempotency_key"],
        "action": "cancel",
        "reason": "a test of the customer's, sent by mistake",
    }
    answer = _post(f"{url}/api/v1/events/corrections", correction, key=key)
    if not answer.ok:
        raise DemoFailed(f"a correction was answered {answer.status_code}: {answer.text[:500]}")


def _post(address: str, document: dict[str, Any], *, key: str) -> requests.Response:
    with requests.Session() as session:
        session.trust_env = False
        return session.post(address, json=document, headers={"Authorization": f"Bearer {key}"}, timeout=TIMEOUT_SECONDS)
