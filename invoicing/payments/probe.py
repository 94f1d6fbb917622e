"""Find out whether Stripe answers again, by one call that changes nothing."""

from datetime import datetime

from invoicing.payments import breaker, gateway
from invoicing.payments.remote import GatewayRefused, GatewayUnavailable


def probe_stripe(*, at: datetime) -> str:
    """Make a probe if it is time for one, and end the outage if Stripe answers; returns the outcome in words."""
    outage = breaker.claim_probe(at=at)
    if outage is None:
        return "nothing to probe"
    try:
        with breaker.probing():
            gateway.reach()
    except GatewayUnavailable as error:
        breaker.note_probe(outage=outage, error=error.message)
        return f"still out: {error.message}"
    except GatewayRefused:
        # It was understood, so somebody is there.
        pass
    if not breaker.close_probed(outage=outage, at=at, reason="Stripe has answered a probe."):
        return "Stripe answers again, and somebody has decided otherwise meanwhile"
    return "Stripe answers again"
