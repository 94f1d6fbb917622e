"""Whose usage a line is about, and an invoice in sections: who is billed first, then each account that is billed to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db.models import Q, QuerySet, Sum
from moneyed import Money

from billing_site.kernel.money import round_money, total
from invoicing.core.invoice_life import STANDING
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice, InvoiceLine


@dataclass(frozen=True)
class Section:
    """The lines of one account and what they come to; `key` is "" of who is billed, `name` "" of what is about all accounts: a discount, credit."""

    key: str
    name: str
    lines: tuple[InvoiceLine, ...]
    subtotal: Money


@dataclass(frozen=True)
class AccountPart:
    """What an invoice of who pays charges for one account: the sum of its lines, before tax that comes on top."""

    invoice: Invoice
    amount: Money


def with_consumers(lines: "QuerySet[InvoiceLine]") -> "QuerySet[InvoiceLine]":
    """Return the lines read together with whose they are: `consumer_of` asks nothing more."""
    return lines.select_related("invoice__customer", "subscription__customer")


def with_origins(lines: "QuerySet[InvoiceLine]") -> "QuerySet[InvoiceLine]":
    """Return the same with the lines that corrections correct, and whose these are."""
    return with_consumers(lines).select_related(
        "correction__original__invoice__customer", "correction__original__subscription__customer"
    )


def consumer_of(*, line: InvoiceLine) -> str:
    """Return the key of the customer whose subscription, and so whose usage, a line is about: of the invoice, or an account that is billed to it."""
    return line.invoice.customer.key if line.subscription is None else line.subscription.customer.key


def account_of(*, line: InvoiceLine) -> str:
    """Return the key of the account that a line is about; "" where that is who is billed, or nobody alone."""
    if line.subscription is None or line.subscription.customer_id == line.invoice.customer_id:
        return ""
    return line.subscription.customer.key


def sections_of(*, invoice: Invoice, lines: Sequence[InvoiceLine]) -> list[Section]:
    """Return the lines of an invoice by account, with the names of when it was issued; none where no account but its customer has a line.

    Who is billed comes first, then the accounts by name, then what is about all of them.
    """
    names: Mapping[str, str] = invoice.accounts or {}
    groups: dict[str | None, list[InvoiceLine]] = {}
    for line in lines:
        groups.setdefault(None if line.subscription is None else account_of(line=line), []).append(line)
    accounts = sorted((key for key in groups if key), key=lambda key: (names.get(key, key), key))
    if not accounts:
        return []
    titles: dict[str | None, str] = {
        "": invoice.customer_name,
        **{key: names.get(key, key) for key in accounts},
        None: "",
    }
    return [
        Section(
            key or "", titles[key], tuple(groups[key]), total((one.amount for one in groups[key]), invoice.currency)
        )
        for key in ("", *accounts, None)
        if key in groups
    ]


def parts_of_account(*, account: Customer) -> list[AccountPart]:
    """Return what issued invoices of who pays charge for an account, void ones left out, newest first; none for a customer who is billed itself."""
    if account.billed_to_id is None:
        return []
    mine = Q(lines__subscription__customer=account)
    found = Invoice.objects.filter(mine, customer=account.billed_to_id, status__in=STANDING)
    return [
        AccountPart(invoice, round_money(invoice.part, invoice.currency))  # type: ignore[attr-defined]
        for invoice in found.annotate(part=Sum("lines__amount", filter=mine)).order_by("-period_end", "-id")
    ]
