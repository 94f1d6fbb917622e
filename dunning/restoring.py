"""Tell customers that their service is given again in full: when it is so, and once, also where their case was closed before."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import OuterRef, Subquery

from dunning.cases.models import DunningCase
from dunning.core.notice_kinds import NoticeKind
from dunning.notices.models import Notice
from dunning.telling import REFERENCE, tell
from invoicing.core.life_cycle import State, Trigger
from invoicing.customers.models import Customer, LifeCycleMove
from invoicing.customers.operations import lock_customer
from invoicing.workflows.customer_standing import standing_now

# Who is so is not served, whatever dunning finds: an objection, or what was given up long ago, pays nothing.
REFUSED = (State.SUSPENDED, State.CHURNED)
# Whose service has been given again for longer is not told of it any more.
TOLD_WITHIN = timedelta(days=7)


def is_refused(*, customer: Customer, at: datetime) -> bool:
    """Say whether a customer is not served, whatever dunning thinks of it."""
    return standing_now(customer_id=customer.pk, at=at).state in REFUSED


def tell_restored(*, case: DunningCase, at: datetime) -> None:
    """Tell a customer that its service is given again in full, once for each case."""
    tell(
        customer=case.customer,
        kind=NoticeKind.RESTORED,
        reference=_reference(case),
        invoice_ids=[case.anchor_invoice_id],
        acts_on=None,
        at=at,
    )


def restored_untold(*, at: datetime) -> list[DunningCase]:
    """Return the cases of customers whose suspension ended lately, after their case did, and who have not been told."""
    cases = DunningCase.objects.filter(customer=OuterRef("customer"), opened_at__lte=OuterRef("moved_at"))
    moves = LifeCycleMove.objects.filter(
        trigger=Trigger.RECOVERED.value, moved_at__gt=at - TOLD_WITHIN, moved_at__lte=at
    )
    newest = moves.annotate(case=Subquery(cases.order_by("-opened_at", "-pk").values("pk")[:1])).values("case")
    found = DunningCase.objects.filter(pk__in=newest).select_related("customer")
    references = {f"{REFERENCE}{_reference(case)}": case for case in found.order_by("pk")}
    told = set(Notice.objects.filter(reference__in=references).values_list("reference", flat=True))
    return [case for reference, case in references.items() if reference not in told]


@transaction.atomic
def tell_recovered(*, case_id: int, at: datetime) -> None:
    """Tell a customer whose suspension has ended, unless it is suspended again by now."""
    case = DunningCase.objects.select_related("customer").get(pk=case_id)
    customer = lock_customer(customer_id=case.customer_id)
    if not is_refused(customer=customer, at=at):
        tell_restored(case=case, at=at)


def _reference(case: DunningCase) -> str:
    return f"{case.pk}:restored"
