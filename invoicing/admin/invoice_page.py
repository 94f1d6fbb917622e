"""The data of an invoice's page: its lines down to tiers, its life as a timeline, payments and journal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from moneyed import Money

from billing_site.display.admin import history_of
from billing_site.display.changes import Change
from billing_site.display.figures import moment_text, money_text
from billing_site.display.pills import state_of_invoice
from billing_site.kernel.money import total
from billing_site.kernel.period import Period
from invoicing.admin.customer_page import amount_due
from invoicing.admin.dispute_words import dispute_moments, disputed_words
from invoicing.admin.gate_moments import gate_moments
from invoicing.admin.invoice_entries import entries_of
from invoicing.approvals.models import Approval
from invoicing.core.contract import AdjustmentKind
from invoicing.core.gate_states import GateState
from invoicing.core.invoice_life import COLLECTABLE, STANDING, InvoiceStage
from invoicing.credit_notes.creditable import creditable_of
from invoicing.credit_notes.models import CreditNote
from invoicing.customers.models import SettlementChannel
from invoicing.draft_edits.models import LineEdit
from invoicing.draft_edits.queries import edits_of
from invoicing.e_invoices.statement import why_no_e_invoice
from invoicing.gate.models import InvoiceHold
from invoicing.gate.queries import hold_in_force
from invoicing.invoices.consumers import Section, sections_of, with_consumers
from invoicing.invoices.models import Invoice, InvoiceKind, InvoiceStatus, LineKind
from invoicing.invoices.queries import billed_progressively, standing_for, taken_off_by, taking_off
from invoicing.invoices.taxes import TaxRow, missing_tax, tax_sums
from invoicing.ledger.models import JournalEntry
from invoicing.payments.attempts import PushAttempt, attempts_of
from invoicing.payments.breaker import outage_now
from invoicing.payments.dispute import Dispute
from invoicing.payments.disputes import disputes_of
from invoicing.payments.models import FAILED_STATUSES, Payment, PaymentFailure, PushIntent, PushStatus
from invoicing.payments.queries import with_paid_back
from invoicing.workflows.ask_first import asked_of_invoice
from invoicing.write_offs.models import WriteOff
from invoicing.write_offs.queries import write_offs_of

ISSUE = "invoicing.issue_invoice"
RETRY = "invoicing.retry_push"
SETTLE = "invoicing.record_transfer"
CREDIT = "invoicing.issue_creditnote"
EDIT = "invoicing.edit_draft"
WRITE_OFF = "invoicing.write_off_invoice"

# What happened this close together is told in the order of cause: clocks differ, and Stripe's know whole seconds only.
TOGETHER = timedelta(minutes=2)
CAUSES = (
    "draft",
    "held",
    "approved",
    "released",
    "signed",
    "issued",
    "pending",
    "refused",
    "pushed",
    "failed",
    "part-paid",
    "paid",
    "taken back",
    "disputed",
    "given back",
    "lost",
    "credited",
    "written off",
    "recovered",
    "void",
)
# What the history says of an invoice that was credited or paid in part, beside the note or payment itself.
CREDITED_ONLY = ("Changed: amount credited", "Changed: amount paid")


@dataclass(frozen=True)
class Moment:
    """One thing that happened to an invoice."""

    at: datetime
    word: str
    text: str
    actor: str = ""
    reason: str = ""


@dataclass(frozen=True)
class InvoicePage:
    """Everything on the page."""

    at: datetime
    state: str
    held: InvoiceHold | None
    question: str
    advice: str
    due: Money
    sections: list[Section]
    has_accounts: bool
    taxes: list[TaxRow]
    timeline: list[Moment]
    payments: list[Payment]
    failures: list[PaymentFailure]
    push: PushIntent | None
    attempts: Sequence[PushAttempt]
    entries: list[JournalEntry]
    changes: list[Change]
    may_issue: bool
    may_refresh: bool
    may_edit: bool
    edits: list[LineEdit]
    may_retry: bool
    may_settle: bool
    may_void: bool
    may_reissue: bool
    has_e_invoice: bool
    may_credit: bool
    credit_notes: list[CreditNote]
    credited: Money
    asked: list[tuple[Approval, Money]]
    may_write_off: bool
    may_expect_again: bool
    write_offs: list[WriteOff]
    disputes: list[Dispute]
    taken_off: list[Invoice]
    taking_off: list[Invoice]
    runs: Period | None


def invoice_page(*, invoice: Invoice, at: datetime, allowed: Callable[[str], bool]) -> InvoicePage:
    """Return the page of one invoice as of `at`; `allowed` says what the reader may do."""
    push = PushIntent.objects.filter(invoice=invoice).first()
    payments = list(invoice.payments.select_related("reversal").order_by("received_at", "id"))
    failures = list(invoice.payment_failures.order_by("occurred_at", "id"))
    notes = list(with_paid_back(notes=invoice.credit_notes.select_related("approval")).order_by("id"))
    write_offs = write_offs_of(invoice=invoice)
    disputes = disputes_of(invoice=invoice)
    settled = disputed_words(disputes) or _credited_words(invoice, notes)
    changes = history_of(invoice)
    state = state_of_invoice(invoice, at=at)
    is_open, is_draft = invoice.status == InvoiceStatus.ISSUED, invoice.status == InvoiceStatus.DRAFT
    held = hold_in_force(invoice=invoice) if is_draft else None
    with_rows = with_consumers(invoice.lines.select_related("price__plan_version__plan")).prefetch_related("taxes")
    lines = list(with_rows.order_by("position"))
    sections = sections_of(invoice=invoice, lines=lines)
    return InvoicePage(
        at=at,
        state=held.state if held else state,
        held=held,
        question=settled or _question(invoice, state, push, failures, at=at),
        advice=_advice(invoice, push, failures),
        due=amount_due(invoice),
        sections=sections or [Section("", "", tuple(lines), invoice.subtotal)],
        has_accounts=bool(sections),
        taxes=tax_sums(invoice=invoice),
        timeline=_timeline(invoice, changes, push, payments, failures, notes, write_offs, disputes),
        payments=payments,
        failures=failures,
        push=push,
        attempts=attempts_of(intent_id=push.pk) if push else (),
        entries=entries_of(invoice=invoice, payments=payments, notes=notes, write_offs=write_offs, disputes=disputes),
        changes=changes,
        may_issue=can_be_issued(invoice, at=at)
        and not missing_tax(invoice=invoice)
        and allowed(ISSUE)
        and (held is None or held.state == GateState.READY),
        may_refresh=is_draft and allowed(ISSUE),
        may_edit=is_draft and invoice.kind == InvoiceKind.PERIOD and allowed(EDIT),
        edits=_edits(invoice) if is_draft or any(line.adjustment == AdjustmentKind.EDIT for line in lines) else [],
        may_retry=push is not None and push.status in FAILED_STATUSES and is_open and allowed(RETRY),
        may_settle=invoice.status in COLLECTABLE and allowed(SETTLE),
        may_void=can_be_void(invoice) and allowed(ISSUE),
        has_e_invoice=not why_no_e_invoice(invoice=invoice),
        may_reissue=can_be_made_again(invoice) and allowed(ISSUE),
        may_credit=can_be_credited(invoice) and allowed(CREDIT),
        credit_notes=notes,
        credited=total((note.total for note in notes), invoice.currency),
        asked=asked_of_invoice(invoice=invoice),
        may_write_off=can_be_written_off(invoice) and allowed(WRITE_OFF),
        may_expect_again=invoice.status == InvoiceStatus.WRITTEN_OFF and allowed(WRITE_OFF),
        write_offs=write_offs,
        disputes=disputes,
        taken_off=list(taken_off_by(invoice=invoice)) if any(line.progressive_id for line in lines) else [],
        taking_off=list(taking_off(invoice=invoice)) if invoice.kind == InvoiceKind.PROGRESSIVE else [],
        runs=billed_progressively(invoice=invoice),
    )


def _edits(invoice: Invoice) -> list[LineEdit]:
    found = edits_of(customer_id=invoice.customer_id, period_start=invoice.period_start, period_end=invoice.period_end)
    return list(found)


def _credited_words(invoice: Invoice, notes: list[CreditNote]) -> str:
    """Say that nothing is left of an invoice, where credit notes took all of it."""
    if not notes or creditable_of(invoice=invoice).left.amount:
        return ""
    return f"Credited wholly, by {', '.join(str(note) for note in notes)}: nothing is owed on it."


def _question(
    invoice: Invoice, state: str, push: PushIntent | None, failures: list[PaymentFailure], *, at: datetime
) -> str:
    """Say whether it is all right and what to do, in one sentence."""
    is_draft = invoice.status == InvoiceStatus.DRAFT
    if is_draft and not can_be_issued(invoice, at=at):
        return (
            f"Its period has not ended: it can be issued from {moment_text(invoice.period_end, invoice.timezone)} on."
        )
    if missing := missing_tax(invoice=invoice):
        return f"It cannot be taxed, and so not issued: it is not known: {'; '.join(missing)}. Say it, then refresh it."
    until = grace_until(invoice)
    if is_draft and at < until:
        zone = moment_text(until, invoice.timezone)
        return f"Late usage still joins it: billing runs issue it from {zone} on; issued by hand it waits no longer."
    if is_draft:
        return "Not issued yet: check the lines, then issue it."
    if state == "void":
        successor = standing_for(invoice=invoice)
        return f"Void: nothing is owed on it{f'; {successor.number} was put in its place' if successor else ''}."
    if invoice.status == InvoiceStatus.WRITTEN_OFF:
        return f"Written off: {money_text(invoice.amount_unpaid)} are a loss in the books. Money that comes after all is recorded here, and takes it back."
    if state == "paid" and invoice.amount_credited.amount:
        return "Paid, or credited, in full: nothing to do."
    if state == "paid":
        return "Paid in full: nothing to do."
    if push is not None and push.status == PushStatus.REFUSED:
        return f"Stripe refused it: {push.last_error}"
    if push is not None and push.status == PushStatus.FAILED:
        return push.last_error
    if failures:
        return f"The last charge failed: {failures[-1].message}"
    if state == "overdue" and invoice.due_date is not None:
        days = (at.date() - invoice.due_date).days
        told = "Unpaid" if invoice.stage == InvoiceStage.ISSUED else "Part-paid, and unpaid for the rest"
        return f"{told} {days} {'day' if days == 1 else 'days'} after its due date."
    if push is not None and push.status == PushStatus.PENDING:
        tried = f", tried {push.attempt_count} times: {push.last_error}" if push.last_error else "."
        if (outage := outage_now()) is not None:
            ended = "until somebody begins again" if outage.is_by_hand else "until Stripe answers again"
            return f"It waits for its way to Stripe, which is not called, {ended}; then it is sent by itself."
        return f"On its way to Stripe{tried}"
    if invoice.settlement_channel == SettlementChannel.MANUAL:
        return f"Waits for a bank transfer, due {invoice.due_date}."
    return f"Waits for Stripe's payment, due {invoice.due_date}."


def _advice(invoice: Invoice, push: PushIntent | None, failures: list[PaymentFailure]) -> str:
    """Say what can be done about an open invoice that Stripe could not collect; nothing more than is true today."""
    if invoice.status != InvoiceStatus.ISSUED or not failures:
        return ""
    told = "It is charged again as its reason says, and at once when the customer gives another card; see its dunning case."
    if push is not None and push.status == PushStatus.PUSHED:
        return (
            f"{told} The payment method can be changed on the customer's page. Where the money arrives by bank"
            " transfer, record it here: a payment in full also withdraws the invoice at Stripe."
        )
    return f"{told} Where the money arrives by bank transfer, record it here."


def grace_until(invoice: Invoice) -> datetime:
    """Return from when on billing runs issue the invoice: its period's end and, where it charges usage, the customer's grace (S0-062)."""
    if not invoice.lines.filter(kind=LineKind.CHARGE).exclude(meter_key="").exists():
        return invoice.period_end
    return invoice.period_end + timedelta(hours=invoice.customer.grace_hours)


def can_be_issued(invoice: Invoice, *, at: datetime) -> bool:
    """Say whether it is a draft whose period has ended."""
    return invoice.status == InvoiceStatus.DRAFT and invoice.period_end <= at


def can_be_void(invoice: Invoice) -> bool:
    """Say whether it bills no period, is issued, and nothing of it is paid, nor does an issued invoice take it off."""
    if invoice.kind == InvoiceKind.PERIOD or not _is_untouched(invoice):
        return False
    return not taking_off(invoice=invoice).exclude(status=InvoiceStatus.DRAFT).exists()


def can_be_made_again(invoice: Invoice) -> bool:
    """Say whether it bills a period, is issued, and nothing of it is paid or credited; a later invoice may still build on it."""
    return invoice.kind == InvoiceKind.PERIOD and _is_untouched(invoice)


def _is_untouched(invoice: Invoice) -> bool:
    return invoice.status == InvoiceStatus.ISSUED and invoice.amount_due == invoice.total


def can_be_credited(invoice: Invoice) -> bool:
    """Say whether something of an invoice may be credited: it is issued, and not void."""
    return invoice.status in STANDING


def can_be_written_off(invoice: Invoice) -> bool:
    """Say whether something of an invoice is open that may be given up: credit that is sold is not there before it is paid."""
    return invoice.status == InvoiceStatus.ISSUED and not hasattr(invoice, "top_up")


def _timeline(
    invoice: Invoice,
    changes: list[Change],
    push: PushIntent | None,
    payments: list[Payment],
    failures: list[PaymentFailure],
    notes: list[CreditNote],
    write_offs: list[WriteOff],
    disputes: list[Dispute],
) -> list[Moment]:
    """Return what happened, oldest first, at the time at which it took effect."""
    told_beside = (_is_of_write_off, _is_of_reversal)
    moments = [_moment_of(one, invoice) for one in reversed(changes) if not any(told(one) for told in told_beside)]
    if payments or notes:
        # Each payment and credit note stands for itself; that the last one made it paid says nothing more.
        moments = [one for one in moments if one.word != InvoiceStatus.PAID and one.text not in CREDITED_ONLY]
    if push is not None and push.pushed_at is not None:
        moments.append(Moment(push.pushed_at, "pushed", f"Accepted by Stripe as {push.stripe_invoice_id}"))
    elif push is not None:
        word = push.status if push.status in FAILED_STATUSES else "pending"
        moments.append(Moment(invoice.issued_at or push.created_at, word, push.last_error or "Push to Stripe planned"))
    moments += [Moment(f.occurred_at, "failed", f.message, "Stripe", f.code.replace("_", " ")) for f in failures]
    moments += [
        Moment(p.received_at, "paid", f"{money_text(p.amount)} received ({p.reference})", "", p.reason)
        for p in payments
    ]
    moments += [
        Moment(
            p.reversal.reversed_at,
            "taken back",
            f"{money_text(p.amount)} taken back ({p.reference}): {p.reversal.get_cause_display().lower()}",
            p.reversal.actor,
            p.reversal.reason,
        )
        for p in payments
        if hasattr(p, "reversal")
    ]
    moments += [
        Moment(
            note.issued_at, "credited", f"{money_text(note.total)} credited by {note.number}", note.actor, note.reason
        )
        for note in notes
    ]
    moments += [
        Moment(one.written_off_at, "written off", f"{money_text(one.amount)} written off", one.actor, one.reason)
        for one in write_offs
    ]
    moments += [
        Moment(
            recovery.recovered_at,
            "recovered",
            f"{money_text(recovery.amount)} recovered of write-off {one}: {recovery.get_cause_display().lower()}",
            recovery.actor,
            recovery.reason,
        )
        for one in write_offs
        for recovery in one.recoveries.all()
    ]
    moments += [Moment(*told) for told in gate_moments(invoice=invoice, notes=notes)]
    moments += [Moment(*told) for dispute in disputes for told in dispute_moments(dispute)]
    return in_order_of_cause(moments)


def _is_of_write_off(change: Change) -> bool:
    """Say whether the history tells what a write-off or a recovery, beside it, tells itself."""
    return change.verb == "changed" and any(field.name == "amount written off" for field in change.fields)


def _is_of_reversal(change: Change) -> bool:
    """Say whether the history tells that a paid invoice is open again, which the reversal of its payment tells itself."""
    return any(field.name == "status" and field.before.lower() == "paid" for field in change.fields)


def in_order_of_cause(moments: Sequence[Moment]) -> list[Moment]:
    """Return moments by time; those that follow each other within TOGETHER by what causes what."""
    by_time = sorted(moments, key=lambda moment: moment.at)
    groups = [by_time[:1]]
    for before, moment in pairwise(by_time):
        if moment.at - before.at > TOGETHER:
            groups.append([])
        groups[-1].append(moment)
    return [moment for group in groups for moment in sorted(group, key=lambda one: CAUSES.index(one.word))]


def _moment_of(change: Change, invoice: Invoice) -> Moment:
    status = next((field.after for field in change.fields if field.name == "status"), "").lower()
    if change.verb == "created":
        return Moment(invoice.drafted_at, "draft", "Drafted", change.actor, change.reason)
    if status:
        took_effect = {"issued": invoice.issued_at, "paid": invoice.paid_at}.get(status)
        return Moment(took_effect or change.at, status, status.capitalize(), change.actor, change.reason)
    names = ", ".join(field.name for field in change.fields) or "nothing"
    return Moment(change.at, "draft", f"Changed: {names}", change.actor, change.reason)
