"""Who paid late, and what came of it: the dunning of the last two months, lived through day by day, so that cases, notices and figures are there.

It runs while nothing else does: the mails of the past are written by the clock of the past, before a worker could send them today.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, time, timedelta
from decimal import Decimal

from django.conf import settings
from moneyed import Money
from rich.console import Console

from billing_site.demo.keepsake import FINANCE_LOGIN
from billing_site.demo.settling import LATE_PAYERS
from billing_site.kernel.clock import now
from billing_site.kernel.jobs import withdraw
from billing_site.kernel.money import allocate
from dunning.arrangements.models import Hold, HoldKind, Promise
from dunning.arrangements.operations import NewInstalment, hold_dunning, object_to, promise_to_pay
from dunning.cases.arrears import debts_of, owed
from dunning.cases.models import CaseStep, DunningCase
from dunning.core.built_in import BUILT_IN
from dunning.core.case_life import LIVE
from dunning.core.notice_kinds import NoticeKind
from dunning.core.notice_life import NoticeState
from dunning.notices.models import MailEventKind, Notice
from dunning.notices.outbox import JOB as SEND
from dunning.notices.sending import send_notice
from dunning.notices.template_operations import ask_for_approval, draft_version, install_built_ins
from dunning.notices.templates import TemplateVersion
from dunning.notices.tracking import record_event
from dunning.policies.models import PolicyAssignment
from dunning.policies.operations import SHORT_KEY, assign_policy, ensure_presets
from dunning.sweep import sweep_dunning
from invoicing.customers.models import Customer, SettlementChannel
from invoicing.invoices.models import Invoice, InvoiceStatus, Objection
from invoicing.workflows.move_life_cycle import sweep_life_cycles
from invoicing.workflows.settle_payment import FOLLOW_JOB, settle_payment

# Days after the due date on which a step of one of the policies is due, or something else happens.
DAYS = (1, 3, 4, 5, 7, 8, 11, 14, 15, 17, 21, 28)
# When it is day in Europe and in America.
HOUR = time(16)
PAYS_AFTER = {"cust_quill": 5, "cust_owl": 16}
BY_SHORT_POLICY = "cust_cobalt_legal"
PROMISED_IN_VAIN, PROMISES = "cust_fjord_data", "cust_lippe"
OBJECTS, IS_HELD, BOUNCES = "cust_agora", "cust_gridline", "cust_atelier_brune"
WHO = {"actor": FINANCE_LOGIN, "reason": "as agreed on the phone"}
FILES = "django.core.mail.backends.filebased.EmailBackend"


def chase_late_payers(*, console: Console) -> None:
    """Live through the dunning of whoever paid late, and draft words that wait for Legal; a second time changes nothing."""
    if TemplateVersion.objects.filter(drafted_by=FINANCE_LOGIN).exists():
        return
    at, before = now(), settings.EMAIL_BACKEND
    ensure_presets()
    install_built_ins(at=at)
    settings.EMAIL_BACKEND = FILES
    try:
        with console.status("Reminders, promises and suspensions of whoever paid late"):
            for moment, day in _moments(at):
                _happen(moment, day)
                _sweep(moment)
    finally:
        settings.EMAIL_BACKEND = before
    # What they were queued for is sent, and done below, by the clock of the past.
    withdraw(SEND)
    withdraw(FOLLOW_JOB)
    sweep_life_cycles(at=at)
    _draft_words(at)


def _late_invoices() -> dict[str, Invoice]:
    """Return the invoice with which each of them is late first."""
    rows = Invoice.objects.filter(customer__key__in=LATE_PAYERS).exclude(status=InvoiceStatus.DRAFT)
    found: dict[str, Invoice] = {}
    for invoice in rows.select_related("customer").order_by("due_date", "id"):
        if invoice.status == InvoiceStatus.ISSUED and invoice.total.amount > 0:
            found.setdefault(invoice.customer.key, invoice)
    return found


def _moments(at: datetime) -> Iterator[tuple[datetime, int]]:
    """Yield the afternoons on which something is due, the last one before now, each with its day after the due date."""
    begun = {invoice.due_date for invoice in _late_invoices().values() if invoice.due_date}
    days = {(due + timedelta(days=day), day) for due in begun for day in DAYS}
    # What is Stripe's is chased by the sweep of the served demo, which can ask Stripe.
    rail = Invoice.objects.filter(status=InvoiceStatus.ISSUED, settlement_channel=SettlementChannel.STRIPE)
    before = rail.order_by("due_date").values_list("due_date", flat=True).first()
    newest = CaseStep.objects.order_by("-done_at").values_list("done_at", flat=True).first()
    seen = set()
    for on, day in sorted(days):
        moment = datetime.combine(on, HOUR, at.tzinfo)
        if moment < at and (before is None or on <= before) and (newest is None or moment > newest) and on not in seen:
            seen.add(on)
            yield moment, day


def _happen(at: datetime, day: int) -> None:
    """Let come to pass what customers and people did before an afternoon."""
    late = _late_invoices()
    for key, after in PAYS_AFTER.items():
        invoice = late.get(key)
        if invoice is not None and invoice.due_date is not None and (at.date() - invoice.due_date).days >= after:
            settle_payment(
                invoice_id=invoice.pk,
                channel="manual",
                reference=f"late transfer, {invoice.number}",
                amount=invoice.amount_due,
                received_at=at - timedelta(hours=4),
                actor="demo",
                reason="transfer arrived",
            )
    if not PolicyAssignment.objects.exists():
        customer = Customer.objects.get(key=BY_SHORT_POLICY)
        assign_policy(policy=SHORT_KEY, customer=customer, country="", at=at - timedelta(days=1), **WHO)
    if day >= 3:
        _arrange(at, PROMISED_IN_VAIN, days=7, instalments=2)
        _arrange(at, PROMISES, days=60, instalments=3)
        _object(at, late.get(OBJECTS))
        _hold(at)


def _arrange(at: datetime, key: str, *, days: int, instalments: int) -> None:
    """Promise what is late in equal parts, so many days apart, once."""
    case = DunningCase.objects.filter(customer__key=key, state__in=LIVE).first()
    if case is None or Promise.objects.filter(case=case).exists():
        return
    late = debts_of(customers=[case.customer_id], at=at).get(case.customer_id, [])
    parts = allocate(owed(late, currency=case.customer.currency), [Decimal(1)] * instalments)
    promised = [NewInstalment(at.date() + timedelta(days=days + 7 * place), part) for place, part in enumerate(parts)]
    promise_to_pay(case_id=case.pk, instalments=promised, at=at - timedelta(hours=2), **WHO)


def _object(at: datetime, invoice: Invoice | None) -> None:
    if invoice is None or Objection.objects.exists() or not DunningCase.objects.filter(anchor_invoice=invoice).exists():
        return
    half: Money = allocate(invoice.amount_due, [Decimal(1), Decimal(1)])[0]
    object_to(
        invoice_id=invoice.pk,
        amount=half,
        at=at - timedelta(hours=2),
        actor=FINANCE_LOGIN,
        reason="says that half of the runs were a test of ours",
    )


def _hold(at: datetime) -> None:
    case = DunningCase.objects.filter(customer__key=IS_HELD, state__in=LIVE).select_related("customer").first()
    if case is not None and not Hold.objects.exists():
        hold_dunning(customer=case.customer, kind=HoldKind.VIP.value, until=None, at=at - timedelta(hours=2), **WHO)


def _sweep(at: datetime) -> None:
    """One sweep of dunning and of the life cycle, and the mails that it planned."""
    sweep_dunning(at=at)
    sweep_life_cycles(at=at)
    for notice in Notice.objects.filter(state=NoticeState.PLANNED.value).select_related("customer").order_by("pk"):
        sent = send_notice(notice_id=notice.pk, at=at + timedelta(minutes=1))
        if notice.customer.key == BOUNCES and sent.state == NoticeState.SENT:
            record_event(
                kind=MailEventKind.BOUNCE,
                address=sent.to_address,
                provider_id="",
                notice_key=str(sent.pk),
                named=f"demo {sent.pk}",
                said="550 5.1.1 no such mailbox here",
                occurred_at=at + timedelta(minutes=9),
            )


def _draft_words(at: datetime) -> None:
    """Draft a friendlier reminder, which waits for Legal."""
    words = BUILT_IN["en"][NoticeKind.REMINDER]
    friendlier = replace(words, subject=words.subject.replace("Reminder", "A short reminder"))
    who = {"actor": FINANCE_LOGIN, "reason": "customers find ours stiff"}
    version = draft_version(kind=NoticeKind.REMINDER, language="en", words=friendlier, at=at, **who)
    ask_for_approval(version_id=version.pk, at=at, **who)
