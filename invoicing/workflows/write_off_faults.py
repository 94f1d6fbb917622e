"""What is wrong with write-offs: figures that their invoice, their recoveries or the books do not say."""

from collections.abc import Iterator
from decimal import Decimal

from django.db.models import F, Sum
from moneyed import Money

from invoicing.core.posting import BAD_DEBT, RECEIVABLE
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.printed_text import money_text
from invoicing.ledger.models import JournalEntry, Posting
from invoicing.write_offs.models import Recovery, RecoveryCause, WriteOff

KINDS = {JournalEntry.Kind.WRITE_OFF.value: "write-off", JournalEntry.Kind.RECOVERY.value: "recovery"}


def write_off_faults() -> Iterator[tuple[str, str]]:
    """Yield (write-off, recovery or invoice, what is wrong): every one is on its invoice and in the books, for what it gives up or brings back."""
    yield from _not_on_invoices()
    yield from _without_cause()
    yield from _out_of_books()


def _not_on_invoices() -> Iterator[tuple[str, str]]:
    given_up: dict[int, Decimal] = {}
    # An invoice is in one currency.
    for invoice, _, amount in WriteOff.objects.values_list("invoice", "currency").annotate(Sum("amount")):
        given_up[invoice] = given_up.get(invoice, Decimal(0)) + amount
    for invoice, _, amount in Recovery.objects.values_list("write_off__invoice", "currency").annotate(Sum("amount")):
        given_up[invoice] -= amount
    says = Invoice.objects.filter(pk__in=given_up) | Invoice.objects.filter(status=InvoiceStatus.WRITTEN_OFF)
    for one in says.order_by("id"):
        amount = given_up.get(one.pk, Decimal(0))
        if one.amount_written_off.amount != amount:
            said = money_text(money=one.amount_written_off)
            come_to = money_text(money=Money(amount, one.currency))
            message = f"it says that {said} are given up, write-offs less recoveries come to {come_to}"
            yield f"invoice {one.number}", message


def _without_cause() -> Iterator[tuple[str, str]]:
    """Yield recoveries that are of another amount than the payment or credit note that they name."""
    by_payment = Recovery.objects.filter(cause=RecoveryCause.PAYMENT).exclude(
        amount=F("payment__amount"), payment__invoice=F("write_off__invoice")
    )
    by_note = Recovery.objects.filter(cause=RecoveryCause.CREDIT_NOTE).exclude(
        amount=F("credit_note__offset_amount"), credit_note__invoice=F("write_off__invoice")
    )
    for recovery in (by_payment | by_note).order_by("id"):
        yield f"recovery {recovery}", f"it is over {money_text(money=recovery.amount)}, and what brought it back is not"


def _out_of_books() -> Iterator[tuple[str, str]]:
    """Yield what stands in the books otherwise, on the receivable or as a loss, and entries that stand for nothing."""
    booked: dict[tuple[str, str], dict[str, Money]] = {}
    postings = Posting.objects.filter(entry__kind__in=KINDS)
    rows = postings.values_list("entry__kind", "entry__reference", "account__code", "currency").annotate(Sum("amount"))
    for kind, reference, account, currency, amount in rows:
        booked.setdefault((kind, reference), {})[account] = Money(amount, currency)
    documents = {
        (JournalEntry.Kind.WRITE_OFF.value, one.reference): one.amount for one in WriteOff.objects.order_by("id")
    } | {(JournalEntry.Kind.RECOVERY.value, one.reference): one.amount * -1 for one in Recovery.objects.order_by("id")}
    for (kind, reference), loss in documents.items():
        if booked.pop((kind, reference), None) != {BAD_DEBT: loss, RECEIVABLE: loss * -1}:
            yield (
                f"{KINDS[kind]} {reference}",
                f"it moves the loss by {money_text(money=loss)}, the books say something else",
            )
    for kind, reference in booked:
        yield f"journal entry {kind} {reference}", "there is nothing that it stands for"
