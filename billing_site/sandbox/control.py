"""The sandbox's own addresses under /_sandbox: state, faults, reset. No part of Stripe."""

from typing import Any

from django.db import transaction
from django.db.models import Count

from billing_site.sandbox import faults
from billing_site.sandbox.limiter import limiter
from billing_site.sandbox.models import SandboxDelivery, SandboxFault, SandboxObject, SandboxRequest
from billing_site.sandbox.stripe.errors import invalid
from billing_site.sandbox.stripe.forms import Params

TIMES_MAX = 10_000
# Three years in seconds.
LEVEL_MAX = 100_000_000


def state(params: Params) -> dict[str, Any]:
    """GET /_sandbox/state: objects by kind, invoices by status, deliveries by state, faults to come."""
    params.refuse_the_rest()
    invoices = SandboxObject.objects.filter(kind="invoice").values_list("body__status").annotate(Count("position"))
    deliveries = dict(SandboxDelivery.objects.values_list("state").annotate(Count("id")))
    return {
        "objects": dict(SandboxObject.objects.values_list("kind").annotate(Count("position")).order_by("kind")),
        "invoices": dict(invoices.order_by("body__status")),
        "deliveries": deliveries,
        "pending_deliveries": deliveries.get(SandboxDelivery.State.PENDING, 0),
        "faults": faults.outstanding(),
        "rates": faults.rates(),
        "calls": {"accepted": limiter.accepted, "refused": limiter.refused},
    }


def order_fault(params: Params) -> dict[str, Any]:
    """POST /_sandbox/faults with `kind` and `times`, or `percent`, which strikes until it is 0 again."""
    kind, times = params.required("kind"), params.integer("times", low=0, high=TIMES_MAX)
    percent = params.integer("percent", low=0, high=100)
    params.refuse_the_rest()
    if kind not in faults.KINDS:
        raise invalid(f"Invalid kind: must be one of {', '.join(faults.KINDS)}", param="kind")
    if percent is not None:
        faults.order_percent(kind=kind, percent=percent)
    if times is not None or percent is None:
        faults.order(kind=kind, times=1 if times is None else times)
    return {"faults": faults.outstanding(), "rates": faults.rates()}


def set_level(params: Params) -> dict[str, Any]:
    """POST /_sandbox/levels with `kind` and `level`: how many calls in a second, how many seconds the clock of its signatures is wrong, how many seconds ago it lives."""
    kind, level = params.required("kind"), params.integer("level", low=-LEVEL_MAX, high=LEVEL_MAX)
    params.refuse_the_rest()
    if kind not in faults.LEVELS:
        raise invalid(f"Invalid kind: must be one of {', '.join(faults.LEVELS)}", param="kind")
    faults.set_level(kind=kind, level=level or 0)
    limiter.forget()
    return {"rates": faults.rates()}


def reset(params: Params) -> dict[str, Any]:
    """POST /_sandbox/reset: forget everything."""
    params.refuse_the_rest()
    with transaction.atomic():
        for model in (SandboxDelivery, SandboxRequest, SandboxFault, SandboxObject):
            model.objects.all().delete()
    return {"reset": True}


ROUTES = {
    ("GET", "/_sandbox/state"): state,
    ("POST", "/_sandbox/faults"): order_fault,
    ("POST", "/_sandbox/levels"): set_level,
    ("POST", "/_sandbox/reset"): reset,
}
