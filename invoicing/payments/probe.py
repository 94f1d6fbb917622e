"""Find out whether Stripe answers again, by a question and a write that changes nothing: it may fail in one of them alone."""

from datetime import datetime

from invoicing.payments import breaker
from invoicing.payments.gateway import client, stripe_errors
from invoicing.payments.models import StripeCustomer
from invoicing.payments.remote import GatewayRefused, GatewayUnavailable

# Where nobody is known at Stripe yet: that there is no such customer is an answer, too.
NOBODY = "cus_probe"


def probe_stripe(*, at: datetime) -> str:
    """Make a probe if it is time for one, and end the outage if Stripe answers; returns the outcome in words."""
    outage = breaker.claim_probe(at=at)
    if outage is None:
        return "nothing to probe"
    try:
        with breaker.probing():
            reach()
    except GatewayUnavailable as error:
        breaker.note_probe(outage=outage, error=error.message)
        return f"still out: {error.message}"
    except GatewayRefused:
        # It was understood, so somebody is there.
        pass
    if not breaker.close_probed(outage=outage, at=at, reason="Stripe has answered a probe."):
        return "Stripe answers again, and somebody has decided otherwise meanwhile"
    return "Stripe answers again"


def reach() -> None:
    """Ask whose account our key is, and write to a customer what stands there already; raises GatewayUnavailable, GatewayRefused."""
    known = StripeCustomer.objects.select_related("customer").order_by("-id").first()
    stripe_id, reference = (known.stripe_id, known.customer.key) if known else (NOBODY, NOBODY)
    with stripe_errors():
        client().v1.accounts.retrieve_current()
        client().v1.customers.update(stripe_id, {"metadata": {"reference": reference}})
