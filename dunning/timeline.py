"""The story of a case: what was done, arranged, refused and paid, oldest first, and what is still to come."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from billing_site.kernel.money import total
from billing_site.kernel.words import counted
from dunning.arrangements.models import Hold
from dunning.cases.models import DunningCase
from dunning.core.case_life import CaseState, state_words
from dunning.core.retries import DECLINE_WORDS, decline_kind, refusal_words
from dunning.handover.models import HandOverDownload, HandOverFile
from dunning.notices.models import Notice
from dunning.overdue.models import OverdueCharge
from invoicing.invoices.models import Invoice, Objection
from invoicing.invoices.printed_text import money_text
from invoicing.payments.charge_attempt import ChargeAttempt
from invoicing.payments.models import Payment, PaymentFailure


@dataclass(frozen=True)
class Told:
    """One entry: a word for its pill, when, what happened, who did it and why, and by which invoice or notice."""

    at: datetime
    word: str
    text: str
    actor: str = ""
    reason: str = ""
    invoice: Invoice | None = None
    notice: Notice | None = None


def timeline_of(*, case: DunningCase) -> list[Told]:
    """Return what has happened in a case, oldest first."""
    opened, *moves = _moves(case)
    told = [
        opened,
        *_money(case),
        *_arrangements(case),
        *_steps(case),
        *_notices(case),
        *_late_payment(case),
        *_handed_over(case),
        *moves,
    ]
    # Of one moment in this order: what was done, then what that made of the case.
    return sorted(told, key=lambda one: one.at)


def _moves(case: DunningCase) -> Iterator[Told]:
    before = ""
    for row in case.history.order_by("history_id"):
        if row.state != before:
            actor, _, reason = (row.history_change_reason or "").partition(": ")
            word = "opened" if row.state == CaseState.OPEN else state_words(row.state)
            yield Told(row.state_since, state_words(row.state), word.capitalize(), actor, reason)
        before = row.state


def _steps(case: DunningCase) -> Iterator[Told]:
    for step in case.steps.order_by("number"):
        text = f"Day {step.day}: {step.get_act_display()}, over {money_text(money=step.amount)}"
        days = f"{step.delay_days} {counted('day', step.delay_days)}"
        late = f"What follows is {days} later than the policy has it." if step.delay_days else ""
        yield Told(step.done_at, step.outcome, text, step.actor, " ".join(filter(None, (step.why, late))))


def _money(case: DunningCase) -> Iterator[Told]:
    until = Q() if case.is_live else Q(occurred_at__lte=case.state_since)
    failures = PaymentFailure.objects.filter(
        until, invoice__customer=case.customer, occurred_at__gte=case.anchor.refused_at or case.opened_at
    )
    for failure in failures:
        yield Told(
            failure.occurred_at,
            "refused",
            f"A charge was refused: {refusal_words(failure.code)}",
            reason=f"{DECLINE_WORDS[decline_kind(failure.code)].capitalize()}.",
        )
    attempts = ChargeAttempt.objects.filter(invoice__customer=case.customer, planned_at__gte=case.opened_at)
    for attempt in attempts:
        yield Told(
            attempt.planned_at,
            attempt.status,
            f"Another attempt to charge: {_outcome_words(attempt.outcome) or 'waits'}",
            attempt.actor,
            attempt.reason,
        )
    for payment in _payments(case).select_related("invoice"):
        yield Told(payment.received_at, "paid", f"{money_text(money=payment.amount)} came for {payment.invoice}")


def _payments(case: DunningCase) -> QuerySet[Payment]:
    """Return what came for invoices that were late when it came: overdue, or refused before."""
    refused = PaymentFailure.objects.filter(invoice=OuterRef("invoice"), occurred_at__lte=OuterRef("received_at"))
    late = Q(invoice=case.anchor_invoice_id) | Q(invoice__due_date__lt=F("received_at__date")) | Exists(refused)
    until = Q() if case.is_live else Q(received_at__lte=case.state_since)
    return Payment.objects.filter(late, until, customer=case.customer, received_at__gte=case.opened_at)


def _outcome_words(outcome: str) -> str:
    """Return what became of an attempt; a refusal begins with its code."""
    code, colon, message = outcome.partition(": ")
    return f"{refusal_words(code)}{colon}{message}" if "_" in code and " " not in code else outcome


def _arrangements(case: DunningCase) -> Iterator[Told]:
    for hold in Hold.objects.filter(customer=case.customer).filter(Q(ended_at=None) | Q(ended_at__gte=case.opened_at)):
        until = f" until {hold.until:%Y-%m-%d %H:%M} UTC" if hold.until else ""
        yield Told(hold.starts_at, "held", f"Held{until}: {hold.get_kind_display()}", hold.actor, hold.reason)
        if hold.ended_at:
            yield Told(hold.ended_at, "lifted", "The hold is lifted", hold.ended_by, hold.ended_because)
    for promise in case.promises.prefetch_related("instalments"):
        parts = ", ".join(f"{money_text(money=one.amount)} by {one.due_date}" for one in promise.instalments.all())
        yield Told(promise.made_at, "promised", f"Promised: {parts}", promise.actor, promise.reason)
        if promise.ended_at:
            yield Told(
                promise.ended_at,
                promise.outcome,
                f"The promise is {promise.outcome}",
                promise.ended_by,
                promise.ended_because,
            )
    objections = Objection.objects.filter(invoice__customer=case.customer).select_related("invoice")
    for one in objections.filter(Q(ended_at=None) | Q(ended_at__gte=case.opened_at)):
        yield Told(
            one.opened_at,
            "disputed",
            f"{money_text(money=one.amount)} of {one.invoice} are objected to",
            one.actor,
            one.reason,
        )
        if one.ended_at:
            yield Told(
                one.ended_at, "decided", f"The objection to {one.invoice} is decided", one.ended_by, one.ended_because
            )


def _notices(case: DunningCase) -> Iterator[Told]:
    notices = Notice.objects.filter(customer=case.customer, reference__startswith=f"dunning:{case.pk}:")
    for notice in notices:
        told_at, words = notice.settled_at or notice.planned_at, f"Notice: {notice.get_kind_display()}"
        yield Told(told_at, notice.state, words, "", notice.why, notice=notice)


def _handed_over(case: DunningCase) -> Iterator[Told]:
    file = HandOverFile.objects.filter(case=case).defer("content").first()
    if file is None:
        return
    words = f"The file for collectors was made, over {money_text(money=file.amount)}"
    yield Told(file.made_at, "made", words, reason=f"{file.name}, SHA-256 {file.digest}")
    for one in HandOverDownload.objects.filter(file=file).order_by("pk"):
        yield Told(one.downloaded_at, "downloaded", "The file for collectors was downloaded", one.actor)


def _late_payment(case: DunningCase) -> Iterator[Told]:
    """Yield each time that interest and fees were charged or waived since the case was opened, until the next one of its customer."""
    later = (
        DunningCase.objects.filter(customer=case.customer, opened_at__gt=case.opened_at).order_by("opened_at").first()
    )
    until = Q(charged_at__lt=later.opened_at) if later else Q()
    rows = OverdueCharge.objects.filter(until, customer=case.customer, charged_at__gte=case.opened_at)
    found: dict[tuple[int | None, datetime], list[OverdueCharge]] = {}
    for row in rows.select_related("invoice").order_by("pk"):
        found.setdefault((row.invoice_id, row.charged_at), []).append(row)
    for charges in found.values():
        first = charges[0]
        amount = money_text(money=total((one.amount for one in charges), first.currency))
        word = "charged" if first.invoice else "waived"
        yield Told(first.charged_at, word, f"Interest and fees: {amount}", first.actor, first.reason, first.invoice)
