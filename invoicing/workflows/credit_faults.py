"""What is wrong between credit and the books: what they owe for it is what is left of prepaid credit, and what is sold and not paid for yet."""

from collections.abc import Iterator

from django.db.models import Exists, F, OuterRef, Q
from moneyed import Money

from billing_site.kernel.money import wire
from invoicing.core.adjustments.credits import CreditKind
from invoicing.core.posting import PREPAID_CREDIT
from invoicing.credits.models import CreditGrant
from invoicing.credits.queries import left_of, with_balance
from invoicing.invoices.models import InvoiceStatus
from invoicing.ledger.models import JournalEntry
from invoicing.ledger.queries import trial_balance
from invoicing.payments.reversal import PaymentReversal
from invoicing.top_ups.models import TopUp, TopUpStatus


def credit_faults() -> Iterator[tuple[str, str]]:
    """Yield each currency in which the books owe something else, each top-up that is not where its invoice is, and credit that nobody sold."""
    prepaid = CreditGrant.objects.filter(kind=CreditKind.PREPAID)
    left: dict[str, Money] = {}
    for grant in with_balance(prepaid):
        _add(left, left_of(grant=grant))
    for top_up in TopUp.objects.filter(status=TopUpStatus.OPEN, invoice__status=InvoiceStatus.ISSUED):
        _add(left, top_up.amount)
    owed = {one.amount.currency.code: one.amount * -1 for one in trial_balance() if one.account == PREPAID_CREDIT}
    for currency in sorted(set(left) | set(owed)):
        there, booked = left.get(currency, Money(0, currency)), owed.get(currency, Money(0, currency))
        if there != booked:
            yield currency, f"{there.amount} are left or sold, the books owe {booked.amount}"
    sold = JournalEntry.objects.filter(kind=JournalEntry.Kind.CREDIT_SALE).values("reference")
    for grant in prepaid.filter(top_up=None, credit_note=None).exclude(key__in=sold).order_by("id"):
        yield f"credit grant {grant.key}", "is in the books with no sale, and of no top-up and no credit note"
    together = {
        TopUpStatus.OPEN: InvoiceStatus.ISSUED,
        TopUpStatus.PAID: InvoiceStatus.PAID,
        TopUpStatus.CLOSED: InvoiceStatus.VOID,
    }
    agree = Q()
    for status, of_invoice in together.items():
        agree |= Q(status=status, invoice__status=of_invoice)
    # Its payment went back: the credit stays given, and is owed, or was given up.
    taken_back = Exists(PaymentReversal.objects.filter(payment__invoice=OuterRef("invoice")))
    agree |= Q(
        taken_back, status=TopUpStatus.PAID, invoice__status__in=[InvoiceStatus.ISSUED, InvoiceStatus.WRITTEN_OFF]
    )
    same = Q(invoice__total=F("amount"), invoice__currency=F("currency"))
    for top_up in TopUp.objects.exclude(agree & same).select_related("invoice", "grant").order_by("id"):
        message = f"is {top_up.status} over {wire(top_up.amount)['amount']}, its invoice {top_up.invoice.status}"
        yield f"top-up of invoice {top_up.invoice}", message
    for top_up in (
        TopUp.objects.filter(grant__isnull=False).exclude(grant__amount=F("amount")).select_related("invoice")
    ):
        yield f"top-up of invoice {top_up.invoice}", "gave another amount than it sold"


def _add(sums: dict[str, Money], amount: Money) -> None:
    currency = amount.currency.code
    sums[currency] = sums.get(currency, Money(0, currency)) + amount
