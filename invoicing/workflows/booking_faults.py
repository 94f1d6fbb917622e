"""What is wrong between documents and books: every invoice and payment stands there with its amount, and the receivable is what is unpaid."""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from django.db.models import Q, Sum
from moneyed import Money

from invoicing.core.adjustments.credits import CreditKind
from invoicing.core.posting import PREPAID_CREDIT, RECEIVABLE, REFUNDS_PAYABLE
from invoicing.credit_notes.models import CreditNote
from invoicing.credits.models import CreditGrant
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.queries import OWED
from invoicing.ledger.models import JournalEntry, Posting
from invoicing.ledger.queries import trial_balance
from invoicing.payments.models import Payment
from invoicing.payments.refund import Refund, RefundStatus
from invoicing.payments.reversal import PaymentReversal


def booking_faults() -> Iterator[tuple[str, str]]:
    """Yield each invoice, payment, journal entry and currency in which documents and books differ, and how."""
    issued = Invoice.objects.exclude(status=InvoiceStatus.DRAFT)
    booked = dict(
        JournalEntry.objects.filter(kind=JournalEntry.Kind.ISSUE, postings__account__code=RECEIVABLE)
        .annotate(amount=Sum("postings__amount"))
        .values_list("reference", "amount")
    )
    received = Sum("payments__amount", filter=Q(payments__reversal__isnull=True))
    for invoice in issued.annotate(received=received).order_by("id"):
        in_books = booked.get(str(invoice.number))
        if in_books != invoice.total.amount:
            yield (
                f"invoice {invoice.number}",
                f"its total is {invoice.total.amount}, in the books stands {in_books}",
            )
        if (invoice.received or 0) != invoice.amount_paid.amount:
            yield (
                f"invoice {invoice.number}",
                f"paid {invoice.amount_paid.amount}, payments sum to {invoice.received or 0}",
            )
    yield from _payments_out_of_books()
    yield from _notes_out_of_books()
    yield from _entries_of_nothing()
    unpaid: dict[str, Money] = {}
    for owed in issued.filter(status__in=OWED):
        rest = owed.amount_due
        unpaid[owed.currency] = unpaid.get(owed.currency, Money(0, owed.currency)) + rest
    receivable = {b.amount.currency.code: b.amount for b in trial_balance() if b.account == RECEIVABLE}
    for currency in sorted(set(unpaid) | set(receivable)):
        left, right = unpaid.get(currency, Money(0, currency)), receivable.get(currency, Money(0, currency))
        if left != right:
            yield (currency, f"unpaid invoices {left.amount}, receivable account {right.amount}")


def _payments_out_of_books() -> Iterator[tuple[str, str]]:
    entries = JournalEntry.objects.filter(kind=JournalEntry.Kind.PAYMENT, postings__account__code=RECEIVABLE)
    booked = {
        reference: (amount, currency)
        for reference, currency, amount in entries.annotate(amount=Sum("postings__amount")).values_list(
            "reference", "currency", "amount"
        )
    }
    for payment in Payment.objects.order_by("id"):
        in_books, currency = booked.get(f"{payment.channel}:{payment.reference}", (None, payment.currency))
        if (in_books, currency) != (-payment.amount.amount, payment.currency):
            message = f"it is over {payment.amount}, in the books stands {in_books} {currency}"
            yield (f"payment {payment.reference}", message)


def _notes_out_of_books() -> Iterator[tuple[str, str]]:
    """Yield each credit note and refund whose entry says something else than the document."""
    postings = Posting.objects.filter(
        entry__kind__in=(JournalEntry.Kind.CREDIT_NOTE, JournalEntry.Kind.REFUND),
        account__code__in=(RECEIVABLE, PREPAID_CREDIT, REFUNDS_PAYABLE),
    )
    booked: dict[tuple[str, str], dict[str, Decimal]] = {}
    rows = postings.values_list("entry__kind", "entry__reference", "account__code", "currency").annotate(Sum("amount"))
    for kind, reference, account, currency, amount in rows:
        booked.setdefault((kind, reference), {})[f"{account} {currency}"] = amount
    for note in CreditNote.objects.order_by("id"):
        parts = (
            (RECEIVABLE, note.offset_amount),
            (PREPAID_CREDIT, note.balance_amount),
            (REFUNDS_PAYABLE, note.refund_amount),
        )
        gives = {f"{account} {note.currency}": -part.amount for account, part in parts if part.amount}
        in_books = booked.get((JournalEntry.Kind.CREDIT_NOTE.value, note.number), {})
        if in_books != gives:
            yield (
                f"credit note {note.number}",
                f"it gives back {_listed(gives)}, in the books stands {_listed(in_books)}",
            )
    for refund in Refund.objects.filter(status=RefundStatus.PAID).order_by("id"):
        in_books = booked.get((JournalEntry.Kind.REFUND.value, f"{refund.channel}:{refund.reference}"), {})
        paid = {f"{REFUNDS_PAYABLE} {refund.currency}": refund.amount.amount}
        if in_books != paid:
            yield f"refund {refund.reference}", f"it is {_listed(paid)}, in the books stands {_listed(in_books)}"


def _listed(amounts: Mapping[str, Decimal]) -> str:
    return ", ".join(f"{place} {amount}" for place, amount in sorted(amounts.items())) or "nothing"


def _entries_of_nothing() -> Iterator[tuple[str, str]]:
    numbers = set(Invoice.objects.exclude(status=InvoiceStatus.DRAFT).values_list("number", flat=True))
    payments = {f"{channel}:{reference}" for channel, reference in Payment.objects.values_list("channel", "reference")}
    void = Invoice.objects.filter(status=InvoiceStatus.VOID)
    prepaid = CreditGrant.objects.filter(kind=CreditKind.PREPAID)
    facts: dict[str, set[str | None]] = {
        JournalEntry.Kind.ISSUE.value: set(numbers),
        JournalEntry.Kind.PAYMENT.value: set(payments),
        JournalEntry.Kind.PAYMENT_REVERSAL.value: {
            f"{channel}:{reference}"
            for channel, reference in PaymentReversal.objects.values_list("payment__channel", "payment__reference")
        },
        JournalEntry.Kind.CREDIT_SALE.value: set(
            prepaid.filter(top_up=None, credit_note=None).values_list("key", flat=True)
        ),
        JournalEntry.Kind.REVERSAL.value: set(void.values_list("number", flat=True)),
        JournalEntry.Kind.CREDIT_NOTE.value: set(CreditNote.objects.values_list("number", flat=True)),
        JournalEntry.Kind.REFUND.value: {
            f"{channel}:{reference}"
            for channel, reference in Refund.objects.filter(status=RefundStatus.PAID).values_list(
                "channel", "reference"
            )
        },
    }
    for entry in JournalEntry.objects.filter(kind__in=facts).order_by("id"):
        if entry.reference not in facts[entry.kind]:
            yield (f"journal entry {entry}", "there is nothing that it stands for")
