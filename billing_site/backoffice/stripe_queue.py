"""What Stripe could not take, beside invoices and notices: charges, refunds and withdrawals that wait for people."""

from django.urls import reverse

from billing_site.backoffice.work_queue import WorkQueue, amounts_by_currency
from invoicing.payments.waiting import failed_at_stripe


def stripe_queue() -> WorkQueue:
    """Return the charges, refunds and withdrawals that Stripe could not take for hours, or refused."""
    failed = failed_at_stripe()
    rows = [{"currency": money.currency.code, "amount": money.amount} for one in failed for money in one.money]
    named = [f"{one.what.lower()}: {one.count}" for one in failed if one.count]
    return WorkQueue(
        name="Other calls to Stripe that failed",
        link=reverse("admin:invoicing_stripe_status"),
        empty="A charge, refund or withdrawal that Stripe could not take for hours stands here until someone tries it again.",
        count=sum(one.count for one in failed),
        oldest=min((one.oldest for one in failed if one.oldest), default=None),
        money=amounts_by_currency(rows),
        why=", ".join(named),
    )
