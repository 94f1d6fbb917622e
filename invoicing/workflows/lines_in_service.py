"""Lines that charge for a time in which what they charge for was not in force."""

from django.db.models import QuerySet
from django.db.models.expressions import RawSQL

from invoicing.invoices.models import STATED, InvoiceLine, InvoiceStatus
from invoicing.subscriptions.agreements import IN_ADVANCE


def lines_outside_service(*, lines: "QuerySet[InvoiceLine]") -> "QuerySet[InvoiceLine]":
    """Return those of the lines whose plan version was not in force, or not charged, all the time of their service.

    A discount and a change by hand reduce or add, credit pays, and a commitment counts what a whole billing period is charged: they have no service of their own,
    nor has what is stated once, or was invoiced before. What is taken in advance may change before it is served.
    """
    counted = (
        lines.exclude(invoice__status=InvoiceStatus.VOID)
        .exclude(adjustment__in=("discount", "edit", "credit", "invoiced_progressively", *IN_ADVANCE))
        .filter(tranche=None)
        .exclude(kind__in=STATED)
    )
    return counted.annotate(is_within=RawSQL(_IS_WITHIN, [])).filter(is_within=False)  # noqa: S611 - no parameter


_IS_WITHIN = """
    COALESCE((
        SELECT range_agg(tstzrange(phase.starts_at, least(phase.ends_at, subscription.ended_at)))
               @> tstzrange(invoicing_invoiceline.service_start, invoicing_invoiceline.service_end)
          FROM invoicing_subscriptionphase phase
          JOIN invoicing_subscription subscription ON subscription.id = phase.subscription_id
          LEFT JOIN invoicing_price price ON price.id = invoicing_invoiceline.price_id
         WHERE phase.subscription_id = invoicing_invoiceline.subscription_id
           AND phase.plan_version_id = COALESCE(price.plan_version_id, phase.plan_version_id) AND phase.kind = 'active'
           AND phase.starts_at < COALESCE(subscription.ended_at, 'infinity')
    ), FALSE)
"""
