"""Commitments that do not add up: drawn beyond what was paid, ended with a rest, or other in the books than on invoices."""

from collections.abc import Iterator

from django.db.models import Sum
from moneyed import Money

from billing_site.kernel.money import round_money, total
from invoicing.core.posting import BREAKAGE, DEFERRED, PREPAID
from invoicing.credit_notes.models import CreditNoteLine
from invoicing.invoices.crediting import CREDITING, credited_beside
from invoicing.invoices.models import InvoiceLine
from invoicing.invoices.queries import OWED
from invoicing.ledger.queries import trial_balance
from invoicing.subscriptions.commitment import CommitmentPayment, CommitmentTranche
from invoicing.subscriptions.committed import burndown_of, drawn_from


def commitment_faults() -> Iterator[tuple[str, str]]:
    """Yield each tranche, and each account of them, with what is wrong about it (S0-066)."""
    tranches = CommitmentTranche.objects.select_related("commitment", "subscription")
    for tranche in tranches.order_by("id").iterator():
        burndown = burndown_of(tranche=tranche)
        subject = f"{tranche} under {tranche.subscription.key}"
        if burndown.is_settled and burndown.left:
            yield subject, f"it has ended, and {burndown.left} of it are left"
        if tranche.commitment.payment == CommitmentPayment.IN_ADVANCE:
            paid, drawn = burndown.promised + burndown.rolled_in, drawn_from(tranche=tranche)
            if drawn > paid:
                yield subject, f"{drawn} were drawn from it, {paid} were in it"
    yield from _differences_of_books()


def _differences_of_books() -> Iterator[tuple[str, str]]:
    credited: dict[tuple[str, str], Money] = {}
    lines = InvoiceLine.objects.filter(adjustment__in=CREDITING, invoice__status__in=OWED)
    for line in lines.order_by("id").iterator():
        for account, amount in credited_beside(lines=[line]).items():
            place = account, line.currency
            credited[place] = credited.get(place, total((), line.currency)) + amount
    given_back = CreditNoteLine.objects.filter(released__gt=0).order_by().values_list("currency")
    for currency, amount in given_back.annotate(Sum("released")):
        credited[DEFERRED, currency] -= round_money(amount, currency)
    booked = {
        (one.account, one.amount.currency.code): -one.amount
        for one in trial_balance()
        if one.account in (PREPAID, DEFERRED, BREAKAGE)
    }
    for account, currency in sorted({*credited, *booked}):
        nothing = total((), currency)
        on_lines, in_books = (one.get((account, currency), nothing) for one in (credited, booked))
        if on_lines != in_books:
            yield f"account {account}", f"lines credit it with {on_lines}, in the books stand {in_books}"
