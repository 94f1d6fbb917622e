"""A savings tip: what a customer would have paid on the other plans that are sold, by the engine that billed it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from moneyed import Money

from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import total
from invoicing.catalog.effective import versions_sold
from invoicing.catalog.models import PlanVersion
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceKind, LineKind
from invoicing.invoices.queries import OWED
from invoicing.workflows.what_if import card_of_version, compare_totals, in_place_of

INVOICES = 3


@dataclass(frozen=True)
class PlanComparison:
    """What some invoices would have come to on another plan."""

    version: PlanVersion
    amount: Money
    saved: Money

    @property
    def more(self) -> Money:
        """How much more it would have been."""
        return self.saved * -1


@dataclass(frozen=True)
class Saving:
    """The last invoices of a customer against the plans on sale, the cheapest first; `why_none` where nothing can be compared."""

    invoices: tuple[Invoice, ...] = ()
    version: PlanVersion | None = None
    paid: Money | None = None
    plans: tuple[PlanComparison, ...] = ()
    why_none: str = ""

    @property
    def tip(self) -> PlanComparison | None:
        """The plan on which the customer would have paid least, if it is less than it paid."""
        cheapest = self.plans[0] if self.plans else None
        return cheapest if cheapest and cheapest.saved.amount > 0 else None


def find_saving(*, customer: Customer, at: datetime) -> Saving:
    """Compute the last invoices of a customer's plan again on each plan of the product that is sold (a what-if; nothing is kept).

    A plan counts only where it has the same periods and a price for each meter that the invoices charge: what a plan
    does not charge is not cheaper, it is not offered. Corrections that invoices carry are left out on both sides.
    """
    newest = list(
        customer.invoices.filter(kind=InvoiceKind.PERIOD, status__in=OWED)
        .select_related("customer")
        .prefetch_related("lines__price__plan_version__plan", "lines__subscription__customer")
        .order_by("-period_end", "-id")[:INVOICES]
    )
    versions = [_version_of(invoice) for invoice in newest]
    if not newest or versions[0] is None:
        return Saving(why_none="There is no invoice of one plan alone yet.")
    version = versions[0]
    invoices = [
        invoice for invoice, other in zip(newest, versions, strict=True) if other and other.plan_id == version.plan_id
    ]
    # As it was charged; each alternative has the same side.
    found = sorted(_compared(version, invoices, at=at), key=lambda one: (one.amount, one.version.pk))
    if not found:
        return Saving(
            tuple(invoices), version, why_none="No other plan that is sold can be compared with these invoices."
        )
    return Saving(tuple(invoices), version, found[0].amount + found[0].saved, tuple(found))


def _version_of(invoice: Invoice) -> PlanVersion | None:
    """Return the last plan version of an invoice whose charges are all of one plan, or None."""
    versions = [line.price.plan_version for line in invoice.lines.all() if line.kind == LineKind.CHARGE and line.price]
    return versions[-1] if len({version.plan_id for version in versions}) == 1 else None


def _compared(version: PlanVersion, invoices: Sequence[Invoice], *, at: datetime) -> Iterator[PlanComparison]:
    meters = {line.meter_key for invoice in invoices for line in invoice.lines.all() if line.meter_key}
    sold = versions_sold(at=at).filter(plan__product=version.plan.product_id, plan__add_on_to=None)
    for other in sold.filter(cadence=version.cadence).exclude(pk=version.pk).select_related("plan"):
        offered = {price.meter.key for price in other.prices.select_related("meter") if price.meter}
        if not meters <= offered:
            continue
        try:
            [card] = in_place_of(cards=[card_of_version(version=other)]).values()
            compared = list(compare_totals(invoices=invoices, in_place={version.plan.key: card}))
        except BillingError:
            continue
        if any(one.after is None for one in compared):
            continue
        currency = invoices[0].currency
        before = total((one.before for one in compared), currency)
        after = total((one.after for one in compared if one.after is not None), currency)
        yield PlanComparison(version=other, amount=after, saved=before - after)
