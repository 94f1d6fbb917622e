"""The data of a customer's page: what is owed, what runs, what was billed and paid, who changed what."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Sum
from moneyed import Money

from billing_site.display.admin import history_of
from billing_site.display.figures import moment_text, period_text
from billing_site.display.pills import state_of_invoice
from billing_site.kernel.errors import BillingError, NotFound
from billing_site.kernel.money import round_money
from invoicing.admin.spend_words import notice_text, usual_text
from invoicing.admin.tax_words import answer_words
from invoicing.bank.queries import on_account_of
from invoicing.catalog.coupons import terms_text
from invoicing.core.access import AccessReason
from invoicing.core.assembly import amount_before_payment, amount_to_come, lines_before_payment
from invoicing.core.tax_document import standing_text
from invoicing.customers.models import Customer
from invoicing.invoices.consumers import AccountPart, parts_of_account
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.queries import AMOUNT_DUE
from invoicing.payments.models import Payment, PaymentFailure
from invoicing.progressive.models import ProgressiveThreshold
from invoicing.spend.models import SpendNotice, UsageAnomaly
from invoicing.spend.queries import budgets_of
from invoicing.subscriptions.discount import Discount
from invoicing.subscriptions.models import Subscription, SubscriptionPhase
from invoicing.subscriptions.queries import held_in_advance, phase_shown, state_of
from invoicing.subscriptions.snapshot import periods_running, with_phases
from invoicing.tax.inquiries import TaxAnswer
from invoicing.tax.models import CustomerTax, TaxExemption, VatIdCheck
from invoicing.tax.queries import last_check
from invoicing.tax.stripe_questions import asks_stripe_for
from invoicing.tax.stripe_tax import last_answers
from invoicing.top_ups.models import TopUp, TopUpStatus
from invoicing.top_ups.rules import TopUpRule
from invoicing.workflows.answer_access import Access, answer_access
from invoicing.workflows.compute_invoice import ComputedInvoice, compute_invoice
from invoicing.workflows.credit_balance import CreditBalance, credit_balance
from invoicing.workflows.preview_invoice import preview_invoice
from invoicing.workflows.read_spend import PeriodSpend, spend_of_period
from invoicing.workflows.tax_gaps import seller_charges_tax

ROWS = 24
NOTICES = 8
ANSWERS = 2
ACCESS_WORDS = {
    AccessReason.ACTIVE: "a subscription runs",
    AccessReason.TRIAL: "in its trial",
    AccessReason.SPEND_LIMIT: "a spend limit is reached",
    AccessReason.PAYMENT_DISPUTED: "frozen: a payment is disputed",
    AccessReason.INCOMPLETE: "the trial is over and there is no means of payment",
    AccessReason.PAUSED: "paused",
    AccessReason.NOT_STARTED: "not begun yet",
    AccessReason.ENDED: "ended",
    AccessReason.NO_SUBSCRIPTION: "there is no subscription",
    AccessReason.PAST_DUE: "past due, served as before",
    AccessReason.SUSPENDED: "suspended",
    AccessReason.CHURNED: "churned",
}


@dataclass(frozen=True)
class InvoiceRow:
    """An invoice as lists show it: with its state as a word and what is still owed."""

    invoice: Invoice
    state: str
    due: Money


@dataclass(frozen=True)
class RunningPeriod:
    """The running period so far, or why there is none; `to_come` is what charges cost that have not begun: after a trial."""

    lines: tuple[Any, ...] = ()
    so_far: Money | None = None
    to_come: Money | None = None
    total: Money | None = None
    period: str = ""
    problem: str = ""
    spend: PeriodSpend | None = None
    tax_words: str = ""


@dataclass(frozen=True)
class CustomerPage:
    """Everything on the page."""

    at: datetime
    balances: list[Money]
    overdue_count: int
    access: Access
    access_why: str
    subscriptions: list[tuple[Subscription, SubscriptionPhase, str, Money | None]]
    discounts: list[tuple[Discount, str]]
    credit: CreditBalance
    open_top_ups: list[TopUp]
    top_up_rule: TopUpRule | None
    threshold: ProgressiveThreshold | None
    invoices: list[InvoiceRow]
    payments: list[Payment]
    failures: list[PaymentFailure]
    running: RunningPeriod
    notices: list[tuple[SpendNotice, str]]
    anomalies: list[tuple[UsageAnomaly, str]]
    changes: list[Any]
    tax: CustomerTax | None
    vat_id_check: VatIdCheck | None
    exemptions: list[TaxExemption]
    charges_tax: bool
    asks_stripe: bool
    tax_answers: list[tuple[TaxAnswer, str]]
    on_account: list[Money]
    accounts: list[Customer]
    parts: list[AccountPart]


def customer_page(*, customer: Customer, at: datetime) -> CustomerPage:
    """Return the page of one customer as of `at`."""
    invoices = list(customer.invoices.order_by("-period_end", "-id")[:ROWS])
    owed = (
        Invoice.objects.filter(customer=customer, status=InvoiceStatus.ISSUED)
        .values("currency")
        .annotate(amount=Sum(AMOUNT_DUE, output_field=Invoice._meta.get_field("total")))
        .order_by("currency")
    )
    access = answer_access(customer_key=customer.key, at=at)
    subscriptions = list(with_phases(customer.subscriptions.all()).order_by("-started_at", "-id"))
    held = held_in_advance(subscriptions=subscriptions)
    tax = CustomerTax.objects.filter(customer=customer).first()
    return CustomerPage(
        at=at,
        balances=[round_money(_bare(row["amount"]), row["currency"]) for row in owed],
        overdue_count=sum(
            1
            for due_date in Invoice.objects.filter(customer=customer, status=InvoiceStatus.ISSUED).values_list(
                "due_date", flat=True
            )
            if due_date and due_date < at.date()
        ),
        access=access,
        access_why=_access_why(access, timezone=customer.timezone),
        subscriptions=[
            (one, phase_shown(subscription=one, at=at), state_of(subscription=one, at=at), held.get(one.pk))
            for one in subscriptions
        ],
        credit=credit_balance(customer=customer, at=at),
        open_top_ups=list(customer.top_ups.filter(status=TopUpStatus.OPEN).select_related("invoice").order_by("id")),
        top_up_rule=customer.top_up_rules.filter(retired_at=None).first(),
        threshold=customer.progressive_thresholds.filter(retired_at=None).first(),
        discounts=[
            (discount, terms_text(coupon=discount.coupon))
            for discount in customer.discounts.select_related("coupon", "subscription").order_by("-id")[:ROWS]
        ],
        invoices=[invoice_row(invoice, at=at) for invoice in invoices],
        payments=list(customer.payments.select_related("invoice", "reversal").order_by("-received_at", "-id")[:ROWS]),
        failures=list(
            PaymentFailure.objects.filter(invoice__customer=customer)
            .select_related("invoice")
            .order_by("-occurred_at", "-id")[:ROWS]
        ),
        running=_running(customer, at=at),
        notices=[
            (notice, notice_text(notice))
            for notice in customer.spend_notices.select_related("budget").order_by("-id")[:NOTICES]
        ],
        anomalies=[(one, usual_text(one)) for one in customer.anomalies.order_by("-id")[:NOTICES]],
        changes=history_of(customer),
        tax=tax,
        vat_id_check=last_check(row=tax) if tax is not None and tax.vat_id else None,
        exemptions=list(customer.tax_exemptions.order_by("-valid_from")[:ROWS]),
        charges_tax=seller_charges_tax(customer=customer),
        asks_stripe=asks_stripe_for(seller=customer.seller_key),
        tax_answers=_tax_answers(customer),
        on_account=list(on_account_of(customer_id=customer.pk).values()),
        accounts=list(customer.accounts.order_by("name", "key")),
        parts=parts_of_account(account=customer)[:ROWS],
    )


def _tax_answers(customer: Customer) -> list[tuple[TaxAnswer, str]]:
    """Return what Stripe Tax told last, where it decides."""
    if not asks_stripe_for(seller=customer.seller_key):
        return []
    return [(one, answer_words(one)) for one in last_answers(customer_id=customer.pk, count=ANSWERS)]


def invoice_row(invoice: Invoice, *, at: datetime) -> InvoiceRow:
    """Return an invoice as lists show it."""
    return InvoiceRow(
        invoice=invoice,
        state=state_of_invoice(invoice, at=at),
        due=amount_due(invoice),
    )


def amount_due(invoice: Invoice) -> Money:
    """Return what is still owed: nothing on drafts and void invoices."""
    return Money(0, invoice.currency) if invoice.status == InvoiceStatus.DRAFT else invoice.amount_due


def _access_why(access: Access, *, timezone: str) -> str:
    """Return why access is given or refused as a phrase: in its trial (sub_acme) until 2026-12-01 00:00 (Europe/Berlin)."""
    verdict = access.verdict
    words = ACCESS_WORDS[verdict.reason]
    named = f"{words} ({verdict.subscription})" if verdict.subscription else words
    return f"{named} until {moment_text(verdict.changes_at, timezone)}" if verdict.changes_at else named


def _running(customer: Customer, *, at: datetime) -> RunningPeriod:
    try:
        computed = _computed(customer, at)
    except BillingError as problem:
        return RunningPeriod(problem=problem.message)
    assembled = computed.assembled
    period = period_text(start=assembled.period.start, end=assembled.period.end, timezone=customer.timezone)
    spend = spend_of_period(customer=customer, computed=computed, budgets=budgets_of(customer=customer), at=at)
    to_come, before_tax = amount_to_come(invoice=assembled, at=at), amount_before_payment(invoice=assembled)
    return RunningPeriod(
        lines=lines_before_payment(invoice=assembled),
        so_far=before_tax - to_come,
        to_come=to_come,
        total=before_tax,
        tax_words=standing_text(tax=assembled.tax),
        period=period,
        spend=spend,
    )


def _computed(customer: Customer, at: datetime) -> ComputedInvoice:
    """Return the invoice of the running period; of an account what it adds to that of who pays."""
    if customer.billed_to is None:
        return preview_invoice(customer_key=customer.key, as_of=at)
    periods = periods_running(customer=customer, moment=at)
    if not periods:
        raise NotFound(f"no subscription of {customer.key} runs", field="as_of")
    return compute_invoice(customer=customer, period=periods[0], until=at)


def _bare(amount: Any) -> Any:
    return getattr(amount, "amount", amount)
