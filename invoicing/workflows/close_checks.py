"""The checks before a month is closed: each says what it looked at, and names what it found; nothing found is green.

They look at the month and at everything before it that is still open: a close is the last moment at which it can land where it belongs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from django.db.models import QuerySet

from billing_site.kernel.digest import digest_of
from billing_site.kernel.errors import Conflict, InvalidInput
from billing_site.kernel.money import round_money
from billing_site.kernel.period import Period
from billing_site.kernel.words import counted
from invoicing.approvals.queries import open_approvals
from invoicing.bank.queries import open_lines
from invoicing.closing.models import NEVER_SIGNED_OFF
from invoicing.closing.queries import Month
from invoicing.core.dispute_life import dispute_words
from invoicing.core.gate_states import GateState
from invoicing.core.spans import period_text
from invoicing.gate.queries import with_gate_state
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.printed_text import money_text
from invoicing.ledger.queries import unbalanced_entries
from invoicing.payments.disputes import open_disputes
from invoicing.payments.models import StripeNotice
from invoicing.payments.refund import Refund, RefundStatus
from invoicing.reports.report import Report
from invoicing.rerating.operations import open_findings
from invoicing.spend.anomalies import open_anomalies
from invoicing.subscriptions.agreements import agreements_of
from invoicing.subscriptions.queries import who_is_billed
from invoicing.workflows.bank_faults import bank_faults, bank_gaps
from invoicing.workflows.booking_faults import booking_faults
from invoicing.workflows.close_certificate import reports_of_entities
from invoicing.workflows.credit_faults import credit_faults
from invoicing.workflows.dispute_faults import dispute_faults
from invoicing.workflows.late_changes import counted_late_changes
from invoicing.workflows.payout_faults import open_payouts, payout_faults
from invoicing.workflows.run_report import RunReport, due_of
from invoicing.workflows.seal_faults import chain_faults
from invoicing.workflows.unbilled_usage import UnbilledReason, uncharged_usage
from invoicing.workflows.unsettled_commitments import unsettled_commitments
from invoicing.workflows.verify import check_numbers_are_gapless
from metering.collecting.queries import waiting_letters
from metering.models import UnappliedReason
from metering.queries.contradictions import open_contradictions
from metering.queries.unapplied import unapplied_before

CUSTOMERS_AT_ONCE = 500
# Counting the usage of a line again takes about 10 ms.
LATE_LINES_COUNTED_MAX = 200
# A trial and a pause are not charged by agreement.
BY_AGREEMENT = (UnbilledReason.TRIAL, UnbilledReason.PAUSED)


@dataclass(frozen=True)
class Asked:
    """What the checks look at: the month, its reports, and the present moment."""

    month: Month
    reports: Sequence[Report]
    at: datetime

    @property
    def end(self) -> datetime:
        """The first moment after the month."""
        return self.month.span.end


@dataclass(frozen=True)
class CloseCheck:
    """One check: its name for machines and people, what it means, and the function that finds what is not done.

    `instead` makes it one that nobody can sign off: what to do with what it finds.
    One that does not block says what is known to be open and is in the books as such: nobody has to sign it.
    """

    name: str
    title: str
    why: str
    find: Callable[[Asked], Iterator[str]]
    instead: str = ""
    blocks: bool = True

    @property
    def can_be_signed_off(self) -> bool:
        """Say whether somebody may answer for what it finds."""
        return not self.instead


@dataclass(frozen=True)
class Checked:
    """What a check found of a month: sentences, none where it is green."""

    check: CloseCheck
    found: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the check."""
        return self.check.name

    @property
    def title(self) -> str:
        """What is true where it is green."""
        return self.check.title

    @property
    def summary(self) -> str:
        """What was found, in a line."""
        if not self.found:
            return "nothing is open"
        more = f" and {len(self.found) - 1:,} more" if len(self.found) > 1 else ""
        return f"{self.found[0]}{more}"

    @property
    def is_green(self) -> bool:
        """Say whether nothing was found."""
        return not self.found

    @property
    def digest(self) -> str:
        """What somebody who signs it off answers for."""
        return digest_of({"check": self.name, "found": list(self.found)})


def made(*, check: CloseCheck, asked: Asked) -> Checked:
    """Make a check."""
    return Checked(check, tuple(check.find(asked)))


def _unbilled(asked: Asked) -> Iterator[str]:
    report = RunReport()
    drafts = Invoice.objects.filter(status=InvoiceStatus.DRAFT)
    drafted = set(drafts.values_list("customer_id", "period_start", "period_end"))
    customers = who_is_billed().order_by("id").iterator(chunk_size=CUSTOMERS_AT_ONCE)
    while batch := list(islice(customers, CUSTOMERS_AT_ONCE)):
        agreements = agreements_of(customers=batch)
        for customer, period in due_of(customers=batch, agreements=agreements, as_of=asked.end, report=report):
            if (customer.pk, period.start, period.end) not in drafted:
                yield f"{customer.name} is not billed for {_days(period, customer.timezone)}"
    for failure in report.failures:
        yield f"{failure.customer} cannot be billed: {failure.message}"


def _days(period: Period, timezone: str) -> str:
    zone = ZoneInfo(timezone)
    last = period.end.astimezone(zone) - timedelta(microseconds=1)
    return period_text(first=period.start.astimezone(zone).date(), last=last.date())


def _drafts(asked: Asked) -> Iterator[str]:
    drafts: QuerySet[Any] = with_gate_state(
        invoices=Invoice.objects.filter(status=InvoiceStatus.DRAFT, period_end__lte=asked.end)
    ).order_by("customer_name", "period_start", "id")
    for draft in drafts:
        state = "held" if draft.gate_state == GateState.HELD.value else "a draft"
        days = _days(Period(draft.period_start, draft.period_end), draft.timezone)
        yield f"{draft.customer_name}, {days}, {money_text(money=draft.total)}: {state}"


def _unread_usage(asked: Asked) -> Iterator[str]:
    for kind in unapplied_before(moment=asked.end):
        # What filters leave out is left out on purpose.
        if kind.reason != UnappliedReason.FILTERED_OUT:
            yield f"{kind.count_text} {counted('event', kind.event_count)} of {kind.event_type}: {kind.label}"
    # Of a dead letter nobody knows of which month its events are, until it is read.
    letters = waiting_letters()
    if letters.count:
        yield f"{letters.count:,} dead {counted('letter', letters.count)} of {', '.join(letters.sources)}, of which month nobody knows until they are read"
    contradicting = open_contradictions(before=asked.end)
    if contradicting.count:
        yield f"{contradicting.count:,} {counted('event', contradicting.count)} of another content than accepted before"


def _uncharged_usage(asked: Asked) -> Iterator[str]:
    for row in uncharged_usage(at=asked.end):
        if row.reason not in BY_AGREEMENT:
            yield f"{row.event_count:,} {counted('event', row.event_count)} of {row.customer_id}, {row.meter}: {row.reason.value}"


def _late_usage(asked: Asked) -> Iterator[str]:
    found = counted_late_changes(at=asked.at, lines_max=LATE_LINES_COUNTED_MAX)
    for change in found.changes:
        if change.decision is None and change.line.service_end <= asked.end:
            line = change.line
            yield f"invoice {line.invoice.number}, line {line.position}: {money_text(money=change.effect)} to decide"
    for failure in found.failures:
        yield f"invoice {failure.line.invoice.number}, line {failure.line.position}: {failure.message}"
    if found.uncounted:
        yield f"{found.uncounted:,} lines more have late usage that is not counted yet"


def _unusual_days(asked: Asked) -> Iterator[str]:
    rows = open_anomalies().filter(day__lt=asked.month.following).order_by("day", "customer__name", "meter")
    for name, meter, day in rows.values_list("customer__name", "meter", "day"):
        yield f"{name}, {meter} on {day}"


def _otherwise_rated(asked: Asked) -> Iterator[str]:
    findings = open_findings().filter(line__invoice__issued_at__lt=asked.end).select_related("line__invoice")
    for finding in findings.order_by("id"):
        yield f"invoice {finding}: {finding.differences[0]}"


def _commitments(asked: Asked) -> Iterator[str]:
    for tranche in unsettled_commitments(at=asked.end):
        yield f"{tranche.subscription.customer.name}: a commitment until {tranche.ends_at:%Y-%m-%d}"


def _refunds(asked: Asked) -> Iterator[str]:
    promised = Refund.objects.exclude(status=RefundStatus.PAID).filter(note__issued_at__lt=asked.end)
    for refund in promised.select_related("note").order_by("id"):
        yield f"{money_text(money=refund.amount)} of credit note {refund.note.number} are not paid back"


def _disputes(asked: Asked) -> Iterator[str]:
    for dispute in open_disputes().filter(opened_at__lt=asked.end).select_related("payment__invoice"):
        invoice = dispute.payment.invoice
        told = f"{money_text(money=dispute.amount)} of invoice {invoice.number}, {invoice.customer_name}"
        yield f"{told}: {dispute_words(dispute.status)}"


def _bank_lines(asked: Asked) -> Iterator[str]:
    for line in open_lines().filter(booked_at__lt=asked.end):
        left = money_text(money=round_money(line.left_amount, line.currency))
        yield f"{left} of bank line {line}, {line.booked_on}: {line.name or 'nobody named'}"


def _bank_gaps(asked: Asked) -> Iterator[str]:
    for account, gap in bank_gaps():
        yield f"{account}: {gap}"


def _payouts(asked: Asked) -> Iterator[str]:
    yield from open_payouts(before=asked.end)


def _notices(asked: Asked) -> Iterator[str]:
    waiting = StripeNotice.objects.filter(processed_at__isnull=True, received_at__lt=asked.end).order_by("id")
    for notice in waiting:
        yield f"{notice}: {notice.last_error or 'not looked at yet'}"


def _approvals(asked: Asked) -> Iterator[str]:
    for approval in open_approvals().filter(requested_at__lt=asked.end):
        yield f"{approval.summary} ({approval.requested_by})"


def _books(asked: Asked) -> Iterator[str]:
    for entry in unbalanced_entries():
        yield f"journal entry {entry}: its debits and credits differ, over all or for a legal entity"
    for faults in (booking_faults, credit_faults, dispute_faults, bank_faults, payout_faults, chain_faults):
        for subject, fault in faults():
            yield f"{subject}: {fault}"
    for finding in check_numbers_are_gapless():
        yield f"{finding.subject} {finding.message}"


def _ties(asked: Asked) -> Iterator[str]:
    of_all = (("", report) for report in asked.reports)
    for entity, report in (*of_all, *reports_of_entities(month=asked.month)):
        for tie in report.ties:
            if not tie.holds:
                yield (
                    f"{report.title}{f' of {entity}' if entity else ''}: {tie.about} {money_text(money=tie.reported)},"
                    f" {tie.source} {money_text(money=tie.booked)}"
                )


CHECKS: tuple[CloseCheck, ...] = (
    CloseCheck(
        "billed",
        "Every period that has ended is billed",
        "What was delivered and not invoiced is missing in revenue. A billing run makes these invoices.",
        _unbilled,
    ),
    CloseCheck(
        "issued",
        "No draft is left",
        "A draft, held or not, is in no books. Issue it, or change what holds it.",
        _drafts,
    ),
    CloseCheck(
        "usage_read",
        "Every event counts",
        "Events of the month, or before it, that no meter counts, that could not be read or contradict others are on no invoice, whenever they came.",
        _unread_usage,
    ),
    CloseCheck(
        "usage_charged",
        "Every usage is charged to somebody",
        "Usage outside of every subscription, or that its plan has no price for, is on no invoice.",
        _uncharged_usage,
    ),
    CloseCheck(
        "late_usage",
        "Late usage is decided",
        "Usage that came after its invoice waits for somebody: next invoice, or absorbed. Of service that went on after midnight (UTC) at the month's end the next month asks.",
        _late_usage,
    ),
    CloseCheck(
        "unusual_days",
        "Unusual usage was looked into",
        "A day far from what is usual may be a fault of metering, and so of an invoice.",
        _unusual_days,
    ),
    CloseCheck(
        "rating",
        "Issued lines rate again to the same",
        "A line that came out otherwise at night may have charged too much or too little.",
        _otherwise_rated,
    ),
    CloseCheck(
        "commitments",
        "Commitments that are over are settled",
        "What is missing to one, or left of it, is on no invoice to come.",
        _commitments,
    ),
    CloseCheck(
        "refunds",
        "What was promised back is paid",
        "A refund of the month stands as owed until it is transferred and written down.",
        _refunds,
    ),
    CloseCheck(
        "disputes",
        "Disputed payments",
        "What the bank has taken back stands on account 1150 until it decides. It holds no close back: the books say it as it is.",
        _disputes,
        blocks=False,
    ),
    CloseCheck(
        "bank_lines",
        "Every line of a bank statement is identified",
        "What nobody has identified stands on account 2500. It holds no close back: the books say it as it is.",
        _bank_lines,
        blocks=False,
    ),
    CloseCheck(
        "bank_gaps",
        "Balances of bank statements are explained by their lines",
        "A statement was never imported, or a line of one is missing. It holds no close back: import it, it is booked in the first open month.",
        _bank_gaps,
        blocks=False,
    ),
    CloseCheck(
        "payouts",
        "Every payout of Stripe is explained",
        "What moved Stripe's balance and no entry of ours says may be a payment, a fee or a loss of the month; a payout that came to no statement is looked for at the bank.",
        _payouts,
    ),
    CloseCheck(
        "notices",
        "Every notice from Stripe is taken in",
        "A payment, a refusal or a refund of the month may be behind one: it would be booked in the next month.",
        _notices,
    ),
    CloseCheck(
        "approvals",
        "Nothing waits for a second person",
        "What was asked for in the month and is decided later lands in the next one.",
        _approvals,
    ),
    CloseCheck(
        "books",
        "Books, numbers and documents agree",
        "Every entry balances, every document is in the books with its amount, every number is there, with the seal of the one before.",
        _books,
        instead="let manage.py verify name every row that differs, then correct it by a new document or bring it back from a backup",
    ),
    CloseCheck(
        "ties",
        "Every report ties to the ledger",
        "Each figure that the documents say is the ledger's, to the cent.",
        _ties,
        instead="let manage.py verify name each document that the books know otherwise, then correct it by a new one or bring it back from a backup",
    ),
)
assert {check.name for check in CHECKS if not check.can_be_signed_off} == {*NEVER_SIGNED_OFF}, (
    "the database says the same"
)


def check_to_sign_off(*, name: str) -> CloseCheck:
    """Return the check of that name; raises InvalidInput where there is none, Conflict where nobody can answer for what it finds."""
    known = {check.name: check for check in CHECKS}
    if name not in known:
        raise InvalidInput(f"must be one of {', '.join(known)}", field="check", code="unknown")
    if not known[name].can_be_signed_off:
        raise Conflict(f"nobody can sign it off: {known[name].instead}", field="check", code="never_signed_off")
    return known[name]
