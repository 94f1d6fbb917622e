"""Credit as invoices take it: the lots of a customer as the core sees them."""

from collections.abc import Collection, Sequence

from billing_site.kernel.among import among
from billing_site.kernel.period import as_utc
from invoicing.core.adjustments.advance import InAdvance
from invoicing.core.adjustments.credits import CreditKind, Lot
from invoicing.credits.models import CreditGrant
from invoicing.credits.queries import left_of, open_grants, with_balance
from invoicing.customers.models import Customer
from invoicing.subscriptions.snapshot import Contract


def open_lots(*, customer: Customer, contract: Contract) -> list[Lot]:
    """Return what is left of a customer's grants, each with the charges of a contract that it may pay for (None: all lines)."""
    return [_lot(grant, contract) for grant in open_grants(customer=customer)]


def customers_with_credit(*, customers: Sequence[Customer]) -> Collection[int]:
    """Return the numbers of those customers of whose grants something is left."""
    grants = with_balance(
        CreditGrant.objects.filter(among("customer", [customer.pk for customer in customers]))
    ).filter(left__gt=0)  # type: ignore[misc]
    return set(grants.values_list("customer_id", flat=True))


def _lot(grant: CreditGrant, contract: Contract) -> Lot:
    about = None
    if grant.plans or grant.meters:
        about = _lines_for(grant, contract)
    return Lot(
        number=grant.pk,
        name=grant.name,
        kind=CreditKind(grant.kind),
        balance=left_of(grant=grant),
        priority=grant.priority,
        effective_at=as_utc(grant.effective_at),
        expires_at=None if grant.expires_at is None else as_utc(grant.expires_at),
        about=about,
    )


def _lines_for(grant: CreditGrant, contract: Contract) -> frozenset[str]:
    """Return the lines of a contract that a grant for some plans or meters may pay for: fees of the next period are of a plan, of no meter."""
    meters = {charge.reference: charge.meter for charge in contract.snapshot.charges}
    meters |= {term.reference: None for term in contract.snapshot.terms if isinstance(term, InAdvance)}
    return frozenset(
        reference
        for reference, meter in meters.items()
        if (not grant.meters or meter in grant.meters)
        and (not grant.plans or contract.plans.get(reference) in grant.plans)
    )
