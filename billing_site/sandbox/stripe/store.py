"""Stripe's objects in our table: made, found, locked, saved and listed."""

import secrets
import string
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any

from billing_site.kernel.clock import now
from billing_site.sandbox.models import SandboxObject
from billing_site.sandbox.stripe.errors import no_such
from billing_site.sandbox.stripe.forms import Params

ALPHABET = string.ascii_letters + string.digits
PREFIXES = {
    "customer": "cus",
    "payment_method": "pm",
    "invoice": "in",
    "invoiceitem": "ii",
    "line_item": "il",
    "invoice_payment": "inpay",
    "payment_intent": "pi",
    "setup_intent": "seti",
    "checkout.session": "cs",
    "charge": "ch",
    "refund": "re",
    "dispute": "dp",
    "balance_transaction": "txn",
    "payout": "po",
    "event": "evt",
    "v2.core.event": "evt_test",
    "billing.meter": "mtr",
    "billing.meter_event": "mtrevt",
    "webhook_endpoint": "we",
    "product": "prod",
    "price": "price",
    "subscription": "sub",
    "subscription_item": "si",
    "tax.calculation": "taxcalc",
    "tax.calculation_line_item": "tax_li",
}
PAGE_DEFAULT, PAGE_MAX = 10, 100

Body = dict[str, Any]
# How long ago it is for the request that is being answered: Stripe's test clocks stand in the past, too.
_behind_seconds: ContextVar[int] = ContextVar("behind_seconds", default=0)


def live_behind(*, seconds: int) -> None:
    """Let it be so many seconds ago for the request that this thread answers next."""
    _behind_seconds.set(seconds)


def timestamp() -> int:
    """Return the present second as Stripe writes times, by the clock of the request."""
    return int(now().timestamp()) - _behind_seconds.get()


def new_id(kind: str) -> str:
    """Return a fresh id with the prefix of its kind."""
    return f"{PREFIXES[kind]}_" + "".join(secrets.choice(ALPHABET) for _ in range(24))


def create(kind: str, body: Body) -> Body:
    """Keep a new object; its id is made here unless the body has one."""
    return create_all(kind, [body])[0]


def create_all(kind: str, bodies: Iterable[Body]) -> list[Body]:
    """Keep new objects of one kind in their order."""
    created_at = now()
    kept = [{"id": new_id(kind), **body, "object": kind} for body in bodies]
    SandboxObject.objects.bulk_create(
        SandboxObject(id=body["id"], kind=kind, body=body, created_at=created_at) for body in kept
    )
    return kept


def find(kind: str, object_id: str) -> Body | None:
    """Return one object as it is stored, or None."""
    return SandboxObject.objects.filter(kind=kind, id=object_id).values_list("body", flat=True).first()


def retrieve(kind: str, object_id: str, *, param: str = "id") -> Body:
    """Return one object as it is stored; refuses where there is none, naming the parameter."""
    body = find(kind, object_id)
    if body is None:
        raise no_such(kind, object_id, param=param)
    return body


def lock(kind: str, object_id: str, *, param: str = "id") -> Body:
    """Return one object and keep others from changing it until the request is done."""
    held = SandboxObject.objects.select_for_update().filter(kind=kind, id=object_id).first()
    if held is None:
        raise no_such(kind, object_id, param=param)
    return held.body


def save(body: Body) -> Body:
    """Keep the changed body of an object."""
    changed = SandboxObject.objects.filter(id=body["id"]).update(body=body)
    assert changed == 1, f"{body['id']} was never created"
    return body


def matching(kind: str, **members: Any) -> list[Body]:
    """Return the objects of a kind whose bodies have these members, oldest first."""
    found = SandboxObject.objects.filter(kind=kind, body__contains=members)
    return list(found.order_by("position").values_list("body", flat=True))


def page(
    kind: str,
    params: Params,
    *,
    url: str,
    members: Mapping[str, Any],
    among: Mapping[str, list[str]] | None = None,
    oldest_first: bool = False,
) -> Body:
    """Return one page in Stripe's list shape, newest first, between the given cursors; of `among` each member has one of several values."""
    limit = params.integer("limit", low=1, high=PAGE_MAX) or PAGE_DEFAULT
    created = params.hash("created")
    after, before = params.text("starting_after"), params.text("ending_before")
    rows = SandboxObject.objects.filter(kind=kind, body__contains=dict(members))
    for name, values in (among or {}).items():
        rows = rows.filter(**{f"body__{name}__in": values})
    for bound in ("gt", "gte", "lt", "lte"):
        moment = created.integer(bound) if created else None
        if moment is not None:
            rows = rows.filter(**{f"body__created__{bound}": moment})
    if created:
        created.refuse_the_rest()
    forwards = "gt" if oldest_first else "lt"
    backwards = "lt" if oldest_first else "gt"
    if after:
        rows = rows.filter(**{f"position__{forwards}": _position(kind, after, param="starting_after")})
    if before:
        rows = rows.filter(**{f"position__{backwards}": _position(kind, before, param="ending_before")})
    natural = "position" if oldest_first else "-position"
    reverse = "-position" if oldest_first else "position"
    found = list(rows.order_by(reverse if before else natural).values_list("body", flat=True)[: limit + 1])
    bodies = found[:limit]
    if before:
        bodies.reverse()
    return {"object": "list", "data": bodies, "has_more": len(found) > limit, "url": url}


def _position(kind: str, object_id: str, *, param: str) -> int:
    position = SandboxObject.objects.filter(kind=kind, id=object_id).values_list("position", flat=True).first()
    if position is None:
        raise no_such(kind, object_id, param=param)
    return position
