"""Verify the whole house: books, numbers, seals, lines, conservation of events, guards of the database."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.db import ProgrammingError, connection, transaction
from django.db.models import Count, Prefetch, Q, Sum

from billing_site.kernel.money import plain
from invoicing.core.proof import carries_of
from invoicing.evidence.anchors import anchor_faults
from invoicing.evidence.faults import evidence_faults, history_faults
from invoicing.invoices.adjustments import adjusted_as_held, amounts_held
from invoicing.invoices.models import (
    CorrectionDecision,
    Invoice,
    InvoiceLine,
    InvoiceSeries,
    InvoiceStatus,
    LineKind,
    UsageCorrection,
)
from invoicing.invoices.numbering import number_of
from invoicing.ledger.queries import books_stand_still
from invoicing.reports.faults import report_faults
from invoicing.workflows.account_faults import account_faults
from invoicing.workflows.advance_faults import advance_faults
from invoicing.workflows.balance_faults import balance_faults
from invoicing.workflows.bank_faults import bank_faults, bank_gaps
from invoicing.workflows.booking_faults import booking_faults
from invoicing.workflows.close_faults import close_faults, closed_report_faults
from invoicing.workflows.commitment_faults import commitment_faults
from invoicing.workflows.credit_faults import credit_faults
from invoicing.workflows.credit_note_faults import credit_note_faults
from invoicing.workflows.dispute_faults import dispute_faults
from invoicing.workflows.document_faults import document_faults
from invoicing.workflows.edit_faults import edit_faults
from invoicing.workflows.explain_invoice import NOT_RATABLE, prove_correction
from invoicing.workflows.guard_faults import guard_faults
from invoicing.workflows.lines_in_service import lines_outside_service
from invoicing.workflows.payout_faults import payout_faults
from invoicing.workflows.progressive_faults import progressive_faults
from invoicing.workflows.rate_again import issued_lines, proved_again
from invoicing.workflows.seal_faults import seal_faults
from invoicing.workflows.seller_faults import seller_faults
from invoicing.workflows.tax_faults import tax_faults
from invoicing.workflows.write_off_faults import write_off_faults
from metering.archiving.checks import archive_faults
from metering.doubles import doubled_keys
from metering.listing import listing_faults
from metering.partitions import faults as partition_faults
from metering.queries import conservation
from metering.queries.soundness import unsound_facts
from metering.rollup import roll_up

CHUNK = 500


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it must be: which check found it, about what, and how it differs."""

    check: str
    subject: str
    message: str


Check = Callable[[], Iterator[Finding]]


def verify(*, anchors: Sequence[dict[str, Any]] = (), beside: Sequence[Check] = ()) -> list[Finding]:
    """Run every check and return what differs, also from anchors that were kept; an empty list means that all is well.

    `beside` are the checks of apps above this one. All checks see one moment: what is issued, paid or accepted meanwhile is not half in one of them.
    """
    roll_up()
    return _findings((*CHECKS, *beside), anchors)


def verify_chains(*, anchors: Sequence[dict[str, Any]] = ()) -> list[Finding]:
    """Run the checks that walk the chains: nothing is counted or rated again, so that it takes minutes, not hours."""
    return _findings(CHAIN_CHECKS, anchors)


def _findings(checks: Sequence[Check], anchors: Sequence[dict[str, Any]]) -> list[Finding]:
    with one_moment(), books_stand_still():
        found = [finding for check in checks for finding in _as_far_as_it_comes(check)]
        for anchor in anchors:
            subject = f"the anchor of {anchor['made_at']}"
            found += [Finding("anchors hold", subject, fault) for fault in anchor_faults(document=anchor)]
        return found


def _as_far_as_it_comes(check: Check) -> Iterator[Finding]:
    """Run one check. What was forged may be nothing that it can read: that is a finding, too, and the others go on."""
    try:
        with transaction.atomic():
            yield from check()
    except ProgrammingError:
        # The tables are not those of the code: no forger's work, `manage.py` says what to do.
        raise
    except Exception as problem:
        name = check.__name__.removeprefix("check_").replace("_", " ")
        yield Finding(
            name, "the check itself", f"it could not be finished: {type(problem).__name__} {problem}".rstrip()
        )


@contextmanager
def one_moment() -> Iterator[None]:
    """Let what is asked within see one moment, and write nothing; within a transaction it is that of the transaction."""
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        if outermost:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                # Before the first question sets the moment: no month is purged while this looks.
                cursor.execute("LOCK TABLE ONLY metering_usageevent IN ACCESS SHARE MODE")
        yield


def check_books_balance() -> Iterator[Finding]:
    """Every journal entry balances for each legal entity, each currency as a whole, and so does what stands between companies (S0-118)."""
    for subject, fault in balance_faults():
        yield Finding("books balance", subject, fault)


def check_invoices_are_booked() -> Iterator[Finding]:
    """Every issued invoice, void one and payment is in the books with its amount, and the receivable is what is unpaid."""
    for subject, fault in booking_faults():
        yield Finding("invoices are booked", subject, fault)


def check_prepaid_credit_is_owed() -> Iterator[Finding]:
    """What is left of prepaid credit is what the books owe to customers for it."""
    for subject, fault in credit_faults():
        yield Finding("prepaid credit is owed", subject, fault)


def check_reports_tie() -> Iterator[Finding]:
    """Every report comes to what the ledger says, to the cent, and every document to its journal entry."""
    yield from (Finding("reports tie", *fault) for fault in report_faults())


def check_closed_months_hold() -> Iterator[Finding]:
    """Each closed month has the journal, the balances, the seals and the kept reports that its certificate says."""
    for subject, fault in close_faults():
        yield Finding("closed months hold", subject, fault)


def check_reports_of_closed_months_hold() -> Iterator[Finding]:
    """Each report of a closed month, computed again, says the figures that it said when the month was closed."""
    for subject, fault in closed_report_faults():
        yield Finding("reports of closed months hold", subject, fault)


def check_numbers_are_gapless() -> Iterator[Finding]:
    """Each series numbers its invoices and credit notes 1, 2, 3 ... without gap or repetition, all of one seller and kind."""
    for series in InvoiceSeries.objects.order_by("prefix"):
        expected = {number_of(series=series, ordinal=ordinal) for ordinal in range(1, series.next_number)}
        numbers = (*series.invoices.values_list("number"), *series.credit_notes.values_list("number"))
        found = {str(number) for (number,) in numbers}
        for number in sorted(expected - found):
            yield Finding("numbers are gapless", f"document {number}", "is missing")
        for number in sorted(found - expected):
            yield Finding("numbers are gapless", f"document {number}", f"does not belong to series {series.prefix}")
    for subject, fault in seller_faults():
        yield Finding("numbers are gapless", subject, fault)


def check_accounts_are_billed_to_who_pays() -> Iterator[Finding]:
    """Each line stands with whoever pays for its subscription, and who pays is billed itself."""
    for subject, fault in account_faults():
        yield Finding("accounts are billed to who pays", subject, fault)


def check_seals_hold() -> Iterator[Finding]:
    """Each invoice is what was sealed at issue, and carries the seal of the one before it."""
    for subject, fault in seal_faults():
        yield Finding("seals hold", subject, fault)


def check_credit_notes_hold() -> Iterator[Finding]:
    """Each credit note is what was sealed, gives back no more than its invoice and each line asked for, and is paid back or owed."""
    for subject, fault in credit_note_faults():
        yield Finding("credit notes hold", subject, fault)


def check_write_offs_hold() -> Iterator[Finding]:
    """What is given up of each invoice is what its write-offs, less their recoveries, come to, and in the books as a loss."""
    for subject, fault in write_off_faults():
        yield Finding("write-offs hold", subject, fault)


def check_disputes_hold() -> Iterator[Finding]:
    """What is disputed was paid, and what each dispute moved is in the books: what is held for all of them is what their account says."""
    for subject, fault in dispute_faults():
        yield Finding("disputes hold", subject, fault)


def check_bank_lines_hold() -> Iterator[Finding]:
    """Each line of a bank statement is as its file says and allocated no further than it goes; what is left, on account or in transit is in the books."""
    yield from (Finding("bank lines hold", *fault) for fault in (*bank_faults(), *bank_gaps(), *payout_faults()))


def check_lines_rate_again() -> Iterator[Finding]:
    """Each issued line, counted from raw events and rated again, is the same to the last digit."""
    for proof in proved_again(lines=issued_lines()):
        for difference in proof.differences:
            yield Finding("lines rate again", _subject(proof.line), difference)


def check_corrections_hold() -> Iterator[Finding]:
    """Each correction continues its line's chain, and rated again its effect is the same; invoices take no more of it."""
    corrections = UsageCorrection.objects.select_related(
        "original__invoice__customer", "original__subscription__customer"
    )
    for correction in corrections.prefetch_related("original__corrections").order_by("id").iterator(chunk_size=CHUNK):
        subject = f"correction {correction.pk} of {_subject(correction.original)}"
        for difference in prove_correction(correction=correction).differences:
            yield Finding("corrections hold", subject, difference)
    counts = Q(lines__isnull=False) & ~Q(lines__invoice__status=InvoiceStatus.VOID)
    for correction in corrections.annotate(taken=Sum("lines__amount", filter=counts), parts=Count("lines", counts)):
        taken, effect = correction.taken or 0, correction.effect.amount
        ok = taken == 0 or (correction.parts == 1 and taken == effect) or effect <= taken < 0
        if not ok or (taken and correction.decision != CorrectionDecision.NEXT_INVOICE):
            subject = f"correction {correction.pk} of {_subject(correction.original)}"
            yield Finding("corrections hold", subject, f"it is over {effect}, invoices hold {taken} of it")


def check_adjustments_hold() -> Iterator[Finding]:
    """What the adjustments of an issued invoice have come to, with their corrections, is what its charges make of them."""
    issued = Invoice.objects.exclude(status=InvoiceStatus.DRAFT).filter(lines__kind=LineKind.ADJUSTMENT).distinct()
    lines = Prefetch("lines", InvoiceLine.objects.order_by("position").prefetch_related("corrections"))
    for invoice in issued.prefetch_related(lines).order_by("id").iterator(chunk_size=CHUNK):
        try:
            adjusted = adjusted_as_held(lines=list(invoice.lines.all()))
        except NOT_RATABLE as problem:
            yield Finding(
                "adjustments hold", f"invoice {invoice.number}", f"{type(problem).__name__} {problem}".rstrip()
            )
            continue
        held = amounts_held(lines=invoice.lines.all())
        for line, now in adjusted:
            if held[now.reference] != now.amount:
                message = f"it stands with {held[now.reference].amount}, its charges make it {now.amount.amount}"
                yield Finding("adjustments hold", f"invoice {invoice.number} line {line.position}", message)
    for subject, fault in edit_faults():
        yield Finding("adjustments hold", subject, fault)


def check_commitments_hold() -> Iterator[Finding]:
    """What was promised is drawn, trued up, expired or rolled over, and what was paid before it is earned is a liability (S0-066)."""
    for subject, fault in commitment_faults():
        yield Finding("commitments hold", subject, fault)


def check_taxes_hold() -> Iterator[Finding]:
    """The tax of each issued invoice, computed again from its lines and stored rates, is the same, and in the books (S0-119)."""
    for subject, fault in tax_faults():
        yield Finding("taxes hold", subject, fault)


def check_fees_in_advance_hold() -> Iterator[Finding]:
    """Of no subscription more is settled than was invoiced in advance."""
    for subject, fault in advance_faults():
        yield Finding("fees in advance hold", subject, fault)


def check_progressive_invoices_are_taken_off() -> Iterator[Finding]:
    """What was invoiced while a period ran comes off the period's invoice, once, with its tax."""
    for subject, fault in progressive_faults():
        yield Finding("progressive invoices are taken off", subject, fault)


def check_lines_are_within_service() -> Iterator[Finding]:
    """No issued line charges for a time in which its plan version was not in force, or was not charged."""
    for line in lines_outside_service(lines=issued_lines()).order_by("invoice_id", "position"):
        yield Finding("lines are within service", _subject(line), "its plan was not in force all that time")


def check_carried_places() -> Iterator[Finding]:
    """A line that carries on from earlier services of its invoice holds what their lines were charged for."""
    carrying = issued_lines().filter(kind="charge", rated__inputs__has_key="carries")
    for line in carrying.order_by("invoice_id", "position"):
        spans = carries_of(inputs=line.rated["inputs"])
        earlier = line.invoice.lines.filter(
            kind="charge",
            subscription=line.subscription_id,
            meter_key=line.meter_key,
            service_start__in=[span.start for span in spans],
        )
        by_span = {one.service_start: one.quantity for one in earlier}
        used = sum(by_span.values(), Decimal(0))
        carried = Decimal(line.rated["inputs"]["usage"].get("carried", 0))
        if len(by_span) != len(spans) or used != carried:
            yield Finding("places in tiers are carried", _subject(line), f"it carries {carried}, before it were {used}")


def _subject(line: InvoiceLine) -> str:
    return f"invoice {line.invoice.number} line {line.position} ({line.description})"


def check_events_are_conserved() -> Iterator[Finding]:
    """Every accepted event is in a window of its meter, or listed with the reason why not."""
    for row in conservation():
        if not row.balanced:
            yield Finding(
                "events are conserved",
                f"meter {row.meter}",
                f"{row.accepted} accepted, {row.aggregated} aggregated, {row.listed} listed; "
                f"sum of events {plain(row.event_sum)}, of windows {plain(row.window_sum)}",
            )


def check_events_are_listed_or_counted_once() -> Iterator[Finding]:
    """What no window holds is on the list, and no key of a customer counts twice, whatever the indexes say (S0-111)."""
    for fault in listing_faults():
        yield Finding("events are listed", "unapplied events", fault)
    for customer, key, count in doubled_keys():
        yield Finding("events are accepted once", f"key {key} of {customer}", f"{count} events count")
    for month, missing in partition_faults():
        yield Finding("guards are on", month, f"{missing} is missing or off")
    for subject, fault in unsound_facts():
        yield Finding("usage is sound", subject, fault)


def check_archives_are_whole() -> Iterator[Finding]:
    """Each archived day is the file that was recorded, and its events are here, or in the file only (S2-033)."""
    for subject, fault in archive_faults():
        yield Finding("archives are whole", subject, fault)


def check_guards_are_on() -> Iterator[Finding]:
    """Every trigger that carves rows in stone exists, is enabled, and does what the code says; every constraint stands."""
    for subject, fault in guard_faults():
        yield Finding("guards are on", subject, fault)


def check_carved_rows_are_as_they_were() -> Iterator[Finding]:
    """Each row in stone is, in every column, what the chain of evidence knows; what may move has a history that says so."""
    for subject, fault in evidence_faults():
        yield Finding("carved rows are as they were", subject, fault)
    for subject, fault in history_faults():
        yield Finding("carved rows are as they were", subject, fault)


def check_documents_print_again() -> Iterator[Finding]:
    """The newest documents that are kept are what printing them again gives, byte by byte."""
    yield from (Finding("documents print again", *fault) for fault in document_faults())


CHECKS = (
    check_guards_are_on,
    check_carved_rows_are_as_they_were,
    check_documents_print_again,
    check_books_balance,
    check_invoices_are_booked,
    check_prepaid_credit_is_owed,
    check_reports_tie,
    check_closed_months_hold,
    check_reports_of_closed_months_hold,
    check_numbers_are_gapless,
    check_accounts_are_billed_to_who_pays,
    check_seals_hold,
    check_credit_notes_hold,
    check_write_offs_hold,
    check_disputes_hold,
    check_bank_lines_hold,
    check_lines_rate_again,
    check_corrections_hold,
    check_adjustments_hold,
    check_commitments_hold,
    check_fees_in_advance_hold,
    check_progressive_invoices_are_taken_off,
    check_taxes_hold,
    check_lines_are_within_service,
    check_carried_places,
    check_events_are_conserved,
    check_events_are_listed_or_counted_once,
    check_archives_are_whole,
)
CHAIN_CHECKS = (
    check_guards_are_on,
    check_carved_rows_are_as_they_were,
    check_books_balance,
    check_invoices_are_booked,
    check_closed_months_hold,
    check_numbers_are_gapless,
    check_accounts_are_billed_to_who_pays,
    check_seals_hold,
    check_credit_notes_hold,
    check_write_offs_hold,
    check_disputes_hold,
    check_bank_lines_hold,
)
