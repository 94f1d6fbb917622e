"""Tax that waits for people: whose tax data is missing, and the drafts that cannot be issued for it."""

from datetime import datetime

from django.db.models import Count, Min, Sum

from billing_site.backoffice.work_queue import WorkQueue, admin_list, amounts_by_currency
from invoicing.invoices.models import Invoice, InvoiceStatus, TaxState
from invoicing.tax.stripe_questions import asks_stripe
from invoicing.workflows.tax_gaps import charges_tax, without_tax_data


def tax_queues(*, at: datetime) -> list[WorkQueue]:
    """Return whose tax data is missing, and the drafts that cannot be issued for it; nothing where no tax is charged."""
    if not charges_tax():
        return []
    unknown = without_tax_data(at=at).aggregate(number_of=Count("id"), oldest=Min("created_at"))
    rows = list(
        Invoice.objects.filter(status=InvoiceStatus.DRAFT, tax_state=TaxState.MISSING)
        .values("currency")
        .annotate(number_of=Count("id"), oldest=Min("drafted_at"), amount=Sum("subtotal"))
    )
    return [
        WorkQueue(
            name="Customers without tax data",
            link=admin_list("customer", "tax=missing"),
            empty="A customer with a subscription stands here until somebody says where it is for tax, and Stripe Tax, where it decides, has told how it is taxed.",
            count=unknown["number_of"],
            oldest=unknown["oldest"],
            why="nobody has said where they are for tax, or Stripe Tax cannot tell how they are taxed: their invoices stay drafts"
            if asks_stripe()
            else "nobody has said where they are for tax: their invoices stay drafts",
        ),
        WorkQueue(
            name="Drafts that cannot be taxed",
            link=admin_list("invoice", "tax_state__exact=missing"),
            empty="A draft stands here while something is missing that its tax depends on.",
            count=sum(row["number_of"] for row in rows),
            oldest=min((row["oldest"] for row in rows), default=None),
            money=amounts_by_currency(rows),
            why="something is missing that their tax depends on; each says what",
        ),
    ]
