"""Which payout of Stripe a bank line is: proposed with its reasons; settled by itself where amount, day and the bank's number leave no doubt."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import ExpressionWrapper, F, OuterRef, QuerySet
from moneyed import Money

from billing_site.kernel.errors import BillingError
from billing_site.kernel.money import round_money
from invoicing.bank.models import AllocationKind, BankLine
from invoicing.bank.queries import AMOUNT, allocated_to, left_of, open_lines
from invoicing.core.bank_matching import EXACT, MISREAD, NAMED, POINTS_MAX
from invoicing.payments.payout import GONE_BACK, Payout
from invoicing.workflows.allocate_bank_line import Share, allocate_bank_line

logger = logging.getLogger(__name__)

ACTOR = "payout matching"
# Banks book a payout up to so long before and after the day that Stripe expects.
EARLY, LATE = timedelta(days=3), timedelta(days=7)
PAYOUTS_MAX = 8


@dataclass(frozen=True)
class PayoutCandidate:
    """A payout that a line may be, and why; `is_named` says that the line has Stripe's number of it."""

    payout: Payout
    left: Money
    points: int
    reasons: tuple[str, ...]
    is_named: bool


def with_left_on_way(payouts: QuerySet[Payout]) -> QuerySet[Any]:
    """Return payouts with `on_way`: what of each is on no bank line; of one that went back what its lines still are."""
    taken = allocated_to(payout=OuterRef("pk"))
    return payouts.annotate(on_way=ExpressionWrapper(F("amount") - taken, output_field=AMOUNT), taken=taken)


def payouts_on_way() -> QuerySet[Any]:
    """Return the payouts that Stripe has sent and no statement shows yet, the earliest first."""
    rows = with_left_on_way(Payout.objects.exclude(status__in=GONE_BACK)).exclude(on_way=0)
    return rows.order_by("arrival_date", "id")


def payouts_for(*, line: BankLine, left: Money) -> tuple[PayoutCandidate, ...]:
    """Return the payouts of exactly what is left of a line, near its day, the likeliest first; also those that came back by it."""
    if not left.amount:
        return ()
    near = {"arrival_date__gte": line.booked_on - LATE, "arrival_date__lte": line.booked_on + EARLY}
    sent = payouts_on_way().filter(currency=line.currency, on_way=left.amount, **near)
    returned = with_left_on_way(Payout.objects.filter(status__in=GONE_BACK, currency=line.currency))
    came_back = returned.filter(taken=-left.amount, returned_at__gte=line.booked_at - LATE - EARLY)
    # What came in and failed may be on the statement in both ways before we hear of it.
    failed = returned.filter(taken=0, amount=left.amount, **near)
    found = [
        _candidate(line, one, left) for one in (*sent[:PAYOUTS_MAX], *came_back[:PAYOUTS_MAX], *failed[:PAYOUTS_MAX])
    ]
    return tuple(sorted(found, key=lambda one: (-one.points, one.payout.pk))[:PAYOUTS_MAX])


def _candidate(line: BankLine, payout: Payout, left: Money) -> PayoutCandidate:
    points, days = EXACT, abs((line.booked_on - payout.arrival_date).days)
    reasons = ["exactly what Stripe paid out"]
    if payout.status in GONE_BACK:
        reasons.append(f"Stripe says that it {payout.get_status_display().lower()}")
    texts = " ".join((line.text, line.structured_reference, line.end_to_end_id, line.bank_reference)).casefold()
    named = [name for name in (payout.trace, payout.stripe_id) if name and name.casefold() in texts]
    if named:
        points += NAMED
        reasons.append(f"it has Stripe's number {named[0]}")
    elif payout.descriptor and payout.descriptor.casefold() in texts:
        points += MISREAD
        reasons.append(f"it says {payout.descriptor}")
    elif "stripe" in f"{texts} {line.name}".casefold():
        points += MISREAD // 2
        reasons.append("it is from Stripe")
    reasons.append(f"{days} day{'' if days == 1 else 's'} from the day that Stripe expects" if days else "on its day")
    return PayoutCandidate(payout, left, min(points + max(10 - 2 * days, 0), POINTS_MAX), tuple(reasons), bool(named))


def settle_payout_lines(*, file_id: int | None, at: datetime) -> int:
    """Match the lines of a file, or all, that are a payout beyond doubt; returns how many. BANK_SETTLES_EXACT switches it off."""
    if not settings.BANK_SETTLES_EXACT:
        return 0
    waiting = set(payouts_on_way().values_list("currency", "on_way"))
    lines: Iterable[Any] = open_lines().filter(is_reversal=False)
    if file_id is not None:
        lines = open_lines().filter(is_reversal=False, statement__file=file_id)
    fitting = [one for one in lines if (one.currency, one.left_amount) in waiting]
    return sum(_settled(line, at=at) for line in fitting)


def _settled(line: Any, *, at: datetime) -> bool:
    """Match a line with the one payout that it names, where no other payout and no other line is of that amount in these days."""
    left = left_of(line=line)
    found = payouts_for(line=line, left=left)
    if len(found) != 1 or not found[0].is_named or found[0].payout.status in GONE_BACK:
        return False
    like = open_lines().filter(currency=line.currency, left_amount=left.amount)
    near = like.filter(booked_on__gte=line.booked_on - LATE, booked_on__lte=line.booked_on + LATE)
    if near.exclude(pk=line.pk).exists():
        return False
    try:
        allocate_bank_line(
            line_id=line.pk,
            shares=[Share(AllocationKind.PAYOUT, left, payout_id=found[0].payout.pk)],
            left=left,
            at=at,
            actor=ACTOR,
            reason=", ".join(found[0].reasons)[:300],
        )
    except BillingError as problem:
        logger.warning("bank line %s was not matched with its payout: %s", line, problem)
        return False
    return True


def on_way_of(*, payout: Payout) -> Money:
    """Return what of a payout is on no bank line."""
    row = with_left_on_way(Payout.objects.filter(pk=payout.pk)).get()
    return round_money(row.on_way, payout.currency)
