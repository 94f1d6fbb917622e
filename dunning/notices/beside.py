"""What a notice says beside its invoices: what is to be paid of an instalment by its day, and what paying late has cost so far."""

from dataclasses import replace
from datetime import datetime

from dunning.arrangements.models import Instalment
from dunning.arrangements.queries import still_to_pay
from dunning.core.notice_kinds import NoticeKind, is_demanding
from dunning.core.wording import CHARGES, Words
from dunning.notices.facts import Facts
from dunning.notices.models import Notice
from dunning.overdue.queries import accrued_of, accrued_total
from dunning.telling import OF_AN_INSTALMENT, REFERENCE


def with_instalment(*, facts: Facts, notice: Notice) -> Facts:
    """Return the figures of a notice with the instalment that it is about; unchanged where it is about none."""
    head, of_an_instalment, number = notice.reference.partition(f"{REFERENCE}{OF_AN_INSTALMENT}")
    if facts.why_not or head or not of_an_instalment:
        return facts
    of_customer = Instalment.objects.filter(pk=int(number), promise__case__customer=notice.customer_id)
    instalment = of_customer.select_related("promise").get()
    rest = still_to_pay(instalment_id=instalment.pk)
    assert facts.total is not None, "an instalment is of what is open"
    if not rest.amount:
        return Facts(why_not="the instalment was paid before it was sent")
    if instalment.promise.ended_at is not None:
        return Facts(why_not=f"the promise ended before it was sent: {instalment.promise.outcome}")
    return replace(facts, instalment=min(rest, facts.total))


def with_charges(*, facts: Facts, notice: Notice, words: Words, at: datetime) -> Facts:
    """Return the figures of a notice with interest and fees that are not invoiced yet; unchanged where there are none, or its words do not name them."""
    if f"{{{CHARGES}}}" not in words.body or not is_demanding(NoticeKind(notice.kind)):
        return facts
    accrued = accrued_of(customer=notice.customer, at=at)
    charges = accrued_total(accrued=accrued, currency=notice.customer.currency)
    return replace(facts, charges=charges) if charges.amount else facts
