"""Who gets what until a moment, if nobody pays: asked of the cases and of who would be late by then; nothing is written."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from moneyed import Money

from dunning.acting import kind_told
from dunning.arrangements.queries import holds_at, objected_to, open_promises
from dunning.cases.arrears import Debt, all_debts, oldest, owed
from dunning.cases.models import CaseStep, DunningCase
from dunning.cases.operations import steps_after
from dunning.core.calendar import Anchor, Planned, first_allowed, next_grave_day, plan, plan_after
from dunning.core.case_life import LIVE, CaseState
from dunning.core.notice_kinds import KIND_WORDS, NoticeKind
from dunning.core.policy import Act
from dunning.due import arranged_against
from dunning.earliest import hindered_until
from dunning.fairness import fitting, never_charged
from dunning.hearing import all_not_told
from dunning.notices.queries import language_for, words_for
from dunning.notices.templates import TemplateVersion
from dunning.policies.models import PolicyVersion
from dunning.policies.queries import policies_for
from dunning.skipping import LEADS_TO, why_skipped
from invoicing.bank.queries import money_on_account
from invoicing.customers.models import Customer
from invoicing.payments.models import PushIntent, PushStatus
from invoicing.workflows.customer_standing import CustomerStanding, standings


class Mailed:
    """Something of which a mail of a kind ("": none) tells in a language."""

    notice: str
    language: str

    @property
    def notice_words(self) -> str:
        """Return the kind as staff read it."""
        return KIND_WORDS[NoticeKind(self.notice)] if self.notice else ""


@dataclass(frozen=True)
class Rehearsed(Mailed):
    """A step that is to come: for whom, when, over what, in which language; `against` says why it would not be taken, "" where it would.

    `skipped` says why it would be taken and do nothing, nor tell anything; `notice` is the kind of mail that is really sent.

    `comes_at` is when it is taken: as planned, or at the earliest where it waits; `waits_for_somebody` where nobody knows the end of what is against it.
    """

    customer: Customer
    case: DunningCase | None
    policy: PolicyVersion
    planned: Planned
    amount: Money
    notice: str
    language: str
    comes_at: datetime
    acts_on: date | None
    against: str
    skipped: str
    waits_for_somebody: bool

    @property
    def waits(self) -> bool:
        """Say whether it does not come when it was planned."""
        return bool(self.against) or self.comes_at > self.planned.due_at


def rehearse(*, until: datetime, at: datetime) -> list[Rehearsed]:
    """Return the steps that are due until a moment, as things are now, earliest first; those of cases that would be opened by then among them."""
    debts = all_debts(at=until)
    rows: list[Rehearsed] = []
    chased = set(DunningCase.objects.filter(state__in=LIVE).values_list("customer", flat=True))
    due = DunningCase.objects.filter(state=CaseState.OPEN, next_due_at__lte=until).select_related("customer", "policy")
    last_steps = CaseStep.objects.filter(case__in=due).order_by("case", "-number").distinct("case")
    last = {step.case_id: step for step in last_steps}
    cases = list(due.order_by("pk"))
    customers = list(Customer.objects.filter(pk__in=set(debts) - chased).order_by("pk"))
    concerned = {case.customer_id for case in cases} | {customer.pk for customer in customers}
    against = _against(debts, concerned, at=at, until=until)
    untold = all_not_told(cases=cases, at=until)
    hindered = hindered_until(cases=cases, at=at)
    for case in cases:
        done = last.get(case.pk)
        ahead, delay_days = steps_after(case=case, last=done), done.delay_days if done else 0
        why_not = untold[case.pk].why if case.pk in untold else ""
        begins, anchor_id = hindered.get(case.pk, at), case.anchor_invoice_id
        chase = Chase(case.customer, case, case.policy, anchor_id, case.anchor, delay_days, begins, why_not)
        rows += _steps(chase, ahead, debts.get(case.customer_id, []), against, at, until)
    policies = policies_for(customers=[customer.pk for customer in customers], at=at)
    for customer in customers:
        policy = policies[customer.pk]
        late = [debt for debt in debts[customer.pk] if debt.counts(terms=policy.read)]
        if late:
            zone = ZoneInfo(customer.timezone)
            first, anchor = oldest(late, terms=policy.read, zone=zone)
            ahead = plan(terms=policy.read, anchor=anchor, zone=zone)
            begins = max(at, against.held_until.get(customer.pk, at))
            chase = Chase(customer, None, policy, first.invoice_id, anchor, 0, begins, "")
            rows += _steps(chase, ahead, late, against, at, until)
    return sorted(rows, key=lambda row: (row.planned.due_at, row.customer.pk))


def tomorrow_ends(*, at: datetime) -> datetime:
    """Return the end of tomorrow in UTC."""
    return at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=2)


@dataclass(frozen=True)
class Chase:
    """A case, or one that would be opened: of whom, under which policy, from which invoice and day on, and by how many days it is late by now.

    `begins` is from when on its next step can be taken, `untold` says why that would find a customer who was not told of it.
    """

    customer: Customer
    case: DunningCase | None
    policy: PolicyVersion
    first_invoice: int
    anchor: Anchor
    delay_days: int
    begins: datetime
    untold: str


@dataclass(frozen=True)
class Against:
    """What is against steps until then: reasons by customer, until when holds last that end before it, and invoices that were never charged.

    What steps find besides: how customers stand by then, which invoices are at Stripe and which are objected to.
    """

    reasons: dict[int, str]
    held_until: dict[int, datetime]
    untried: set[int]
    standings: dict[int, CustomerStanding]
    at_stripe: set[int]
    objected: set[int]


def _steps(
    chase: Chase, ahead: Sequence[Planned], late: Sequence[Debt], against: Against, at: datetime, until: datetime
) -> Iterator[Rehearsed]:
    customer, zone, terms = chase.customer, ZoneInfo(chase.customer.timezone), chase.policy.read
    counted = [debt for debt in late if debt.counts(terms=terms)]
    chased = [debt for debt in counted if debt.invoice_id not in against.untried]
    amount = owed(chased, currency=customer.currency)
    language = language_for(customer=customer)
    why_not = against.reasons.get(customer.pk, "")
    if chase.first_invoice not in {debt.invoice_id for debt in counted}:
        why_not = "nothing is late any more"
    elif chase.first_invoice in against.untried:
        why_not = "not charged yet: it is not at Stripe, and the customer has a card"
    elif amount.amount < terms.minimum(customer.currency):
        why_not = "less than what is chased"
    delay_days, untold = chase.delay_days, chase.untold
    standing = against.standings[customer.pk]
    state, is_restricted = standing.state, standing.restricted_since is not None
    while ahead and ahead[0].due_at <= until:
        one = ahead[0]
        # What is behind is taken now, or when nothing is against it any more, and what follows keeps its distance from that.
        taken_at = first_allowed(at=max(at, chase.begins, one.due_at), terms=terms, zone=zone)
        if taken_at > until and not (why_not or untold):
            return
        delay_days, ahead = plan_after(
            taken=one, done_at=taken_at, terms=terms, anchor=chase.anchor, zone=zone, delay_days=delay_days
        )
        act, because = one.step.act, why_not or untold
        skipped = why_skipped(
            act=act, state=state, debts=chased, objected=against.objected, at_stripe=against.at_stripe
        )
        if not (skipped or because):
            # What comes after finds the customer as this step leaves it.
            state, is_restricted = LEADS_TO.get(act, state), is_restricted or act is Act.RESTRICT
        kind = None if skipped else kind_told(planned=one, terms=terms, debts=chased)
        told, acts_on = "", next_grave_day(later=ahead, zone=zone)
        if kind is not None:
            fits, names_day = fitting(kind=kind, state=state, is_restricted=is_restricted)
            told, acts_on = fits.value, acts_on if names_day else None
        yield Rehearsed(
            customer=customer,
            case=chase.case,
            policy=chase.policy,
            planned=one,
            amount=amount,
            notice=told,
            language=language,
            comes_at=taken_at,
            acts_on=acts_on,
            against=because,
            skipped=skipped,
            # Not by the hour at which it could be taken: where the night is over nobody has lifted a hold.
            waits_for_somebody=bool(because) and chase.begins <= at,
        )
        # Only of the next step is known that nobody was told.
        untold = ""


def _against(debts: dict[int, list[Debt]], customers: Collection[int], *, at: datetime, until: datetime) -> Against:
    """Return what is against the steps of customers, and what they find, as things are now; a bounded number of queries."""
    reasons: dict[int, str] = {}
    held_until: dict[int, datetime] = {}
    for lot in money_on_account().filter(customer__in=debts).select_related("customer"):
        if lot.currency == lot.customer.currency:
            reasons[lot.customer_id] = "money on account is to be applied first"
    promised = open_promises().values_list("case__customer", flat=True)
    reasons |= dict.fromkeys(promised, "has promised to pay")
    for hold in holds_at(at=at):
        if hold.until is None or hold.until > until:
            reasons[hold.customer_id] = arranged_against(hold=hold, is_promised=False)
        else:
            held_until[hold.customer_id] = max(hold.until, held_until.get(hold.customer_id, hold.until))
    untried = never_charged(debts=[debt for late in debts.values() for debt in late])
    standing = standings(customers=Customer.objects.filter(pk__in=customers), at=until)
    late_ones = [debt.invoice_id for customer in customers for debt in debts.get(customer, ())]
    pushed = PushIntent.objects.filter(invoice__in=late_ones, status=PushStatus.PUSHED)
    return Against(
        reasons=reasons,
        held_until=held_until,
        untried=untried,
        standings={one.customer_id: one for one in standing},
        at_stripe=set(pushed.values_list("invoice", flat=True)),
        objected=objected_to(invoice_ids=late_ones),
    )


def words_of(rows: Iterable[Mailed]) -> dict[tuple[str, str], TemplateVersion | None]:
    """Return the words that are in force for the notices of steps, by kind and language."""
    return {
        (kind, language): words_for(kind=NoticeKind(kind), language=language)
        for kind, language in sorted({(row.notice, row.language) for row in rows if row.notice})
    }


def grave_count(rows: Sequence[Rehearsed]) -> int:
    """Return how many of the steps take something from a customer, and would be taken."""
    return sum(row.planned.step.is_grave and not row.against and not row.skipped for row in rows)
