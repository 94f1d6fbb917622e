"""What banks do after the bills: one takes a card payment back, one asks about another; so that disputes can be looked at."""

import requests
from django.conf import settings

from billing_site.demo.errors import DemoFailed
from invoicing.customers.models import SettlementChannel
from invoicing.payments.models import Payment

# Whose newest payment is taken back, and whose is only asked about.
CHARGED_BACK = "cust_meridian"
ASKED_ABOUT = "cust_tessera"
TIMEOUT_SECONDS = 10


def dispute_payments(*, sandbox_url: str) -> None:
    """Let the banks dispute two payments in the sandbox, each once for ever; Stripe's news brings them here. Raises DemoFailed."""
    for customer, reason, inquiry in (
        (CHARGED_BACK, "product_not_received", "false"),
        (ASKED_ABOUT, "unrecognized", "true"),
    ):
        payments = Payment.objects.filter(customer__key=customer, channel=SettlementChannel.STRIPE)
        charge = payments.order_by("-received_at", "-id").values_list("reference", flat=True)[0]
        with requests.Session() as session:
            session.trust_env = False
            headers = {
                "Authorization": f"Bearer {settings.SANDBOX_SECRET_KEY}",
                "Idempotency-Key": f"demo dispute of {charge}",
            }
            asked = {"charge": charge, "reason": reason, "inquiry": inquiry}
            answer = session.post(
                f"{sandbox_url}/_sandbox/disputes", data=asked, headers=headers, timeout=TIMEOUT_SECONDS
            )
        if not answer.ok:
            raise DemoFailed(f"a dispute was answered {answer.status_code}: {answer.text[:500]}")
