"""What makes a step unfair though its day has come: money of the customer that we hold, a card that we never charged, nobody told; and what is told anew."""

from collections.abc import Collection, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from billing_site.kernel.among import among
from billing_site.kernel.written_query import WrittenQuery
from dunning.arrangements.queries import hold_of, money_held, open_promise
from dunning.cases.arrears import Debt, locked_debts
from dunning.cases.operations import lock_case
from dunning.core.calendar import is_allowed
from dunning.core.case_life import CaseState
from dunning.core.notice_kinds import NoticeKind
from dunning.core.notice_life import NoticeState
from dunning.notices.models import Notice, NoticeDecision, NoticeInvoice
from dunning.skipping import WITHOUT_SERVICE
from dunning.telling import REFERENCE, tell
from invoicing.core.life_cycle import State
from invoicing.customers.life_cycle import state_of
from invoicing.customers.models import Customer, SettlementChannel
from invoicing.customers.restriction import ServiceRestriction
from invoicing.invoices.models import Invoice
from invoicing.payments.models import PushStatus

# They tell that service goes on as usual, at least until a day.
ASSURING = (NoticeKind.PAYMENT_FAILED, NoticeKind.ACTION_REQUIRED, NoticeKind.REMINDER)
# They tell what would be taken from whoever has it still.
THREATENING = (NoticeKind.WARNING, NoticeKind.FINAL_NOTICE)


def never_charged(*, debts: Sequence[Debt]) -> set[int]:
    """Return which invoices we would have charged by card, and have not: they are not at Stripe yet, or Stripe has not taken them."""
    untried = [debt.invoice_id for debt in debts if debt.refused_at is None]
    if not untried:
        return set()
    return {number for (number,) in _NEVER_CHARGED.rows(invoices=untried)}


# Asked before each act: written once.
_NEVER_CHARGED = WrittenQuery(
    lambda invoices: (
        Invoice.objects.filter(among("pk", invoices), settlement_channel=SettlementChannel.STRIPE)
        .exclude(customer__payment_method="")
        .exclude(push__status=PushStatus.PUSHED)
        .values_list("pk")
    ),
    invoices=list,
)


def fitting_kind(*, kind: NoticeKind, customer: Customer, at: datetime) -> tuple[NoticeKind, bool]:
    """Return as what a notice is told, and whether it names the next grave day.

    Nobody without service hears that it goes on as usual, or is about to be taken; whoever is suspended may still lose the account.
    """
    restrictions = ServiceRestriction.objects.filter(customer=customer, lifted_at=None, restricted_at__lte=at)
    return fitting(
        kind=kind, state=state_of(customer=customer), is_restricted=kind in ASSURING and restrictions.exists()
    )


def fitting(*, kind: NoticeKind, state: State, is_restricted: bool) -> tuple[NoticeKind, bool]:
    """Return the same of a customer whose state and service are known."""
    is_warned_in_vain = state is State.CHURNED or (state is State.SUSPENDED and kind is NoticeKind.WARNING)
    if kind in THREATENING and is_warned_in_vain:
        return NoticeKind.REMINDER, False
    if kind in ASSURING and (state in WITHOUT_SERVICE or is_restricted):
        return NoticeKind.REMINDER if kind is NoticeKind.PAYMENT_FAILED else kind, False
    return kind, True


def untold(*, invoice_ids: Collection[int]) -> set[int]:
    """Return those of the invoices that no notice of dunning has named yet; one query.

    What was not needed when it was to be sent has told nothing, unless somebody has dropped it.
    """
    dropped = NoticeDecision.objects.filter(notice=OuterRef("notice"), kind=NoticeDecision.Kind.DROP)
    about = NoticeInvoice.objects.filter(
        ~Q(notice__state=NoticeState.NOT_NEEDED.value) | Exists(dropped),
        invoice__in=invoice_ids,
        notice__reference__startswith=REFERENCE,
    )
    return set(invoice_ids) - set(about.values_list("invoice", flat=True))


def _reference_of_news(*, case_id: int, invoice_id: int) -> str:
    """Return a reference under which nothing was planned yet: what was not needed before is told as another notice."""
    first = f"{case_id}:new:{invoice_id}"
    known = Q(reference=f"{REFERENCE}{first}") | Q(reference__startswith=f"{REFERENCE}{first}:")
    before = Notice.objects.filter(known).count()
    return f"{first}:{before + 1}" if before else first


@transaction.atomic
def tell_what_is_new(*, case_id: int, at: datetime) -> bool:
    """Remind once of what a customer is late with since its case has come to its end; returns whether anything was told."""
    case = lock_case(case_id=case_id)
    if case.state != CaseState.EXHAUSTED:
        return False
    if hold_of(customer_id=case.customer_id, at=at) is not None or open_promise(case_id=case.pk) is not None:
        return False
    if not is_allowed(at=at, terms=case.policy.read, zone=ZoneInfo(case.customer.timezone)):
        return False
    debts = [debt for debt in locked_debts(customer_id=case.customer_id, at=at) if debt.counts(terms=case.policy.read)]
    new = sorted(untold(invoice_ids=[debt.invoice_id for debt in debts]) - never_charged(debts=debts))
    if not new or money_held(customer=case.customer) is not None:
        return False
    tell(
        customer=case.customer,
        kind=NoticeKind.REMINDER,
        reference=_reference_of_news(case_id=case.pk, invoice_id=new[0]),
        invoice_ids=new,
        acts_on=None,
        at=at,
    )
    return True
