"""The work that waits for people: each kind with its number, its oldest, its money by currency, and why it waits."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Count, DecimalField, F, Max, Min, OuterRef, Q, QuerySet, Subquery, Sum
from django.urls import reverse
from moneyed import Money

from billing_site.backoffice.approval_queue import approval_queues
from billing_site.backoffice.bank_queue import bank_queues
from billing_site.backoffice.credit_queue import refund_queue, top_up_queue
from billing_site.backoffice.dispute_queue import dispute_queue
from billing_site.backoffice.document_queue import document_queue
from billing_site.backoffice.dunning_queue import dunning_queues
from billing_site.backoffice.held_queue import held_queue
from billing_site.backoffice.meter_queue import meter_queue
from billing_site.backoffice.month_queue import month_queue
from billing_site.backoffice.notice_queues import notice_queues
from billing_site.backoffice.progressive_queues import progressive_queues
from billing_site.backoffice.rerating_queue import rerating_queue
from billing_site.backoffice.stripe_queue import stripe_queue
from billing_site.backoffice.subscription_queue import subscription_queue
from billing_site.backoffice.tax_queues import tax_queues
from billing_site.backoffice.usage_problems import uncharged_usage
from billing_site.backoffice.work_queue import WorkQueue, admin_list, amounts_by_currency, first_named
from invoicing.core.anomaly import Direction
from invoicing.core.life_cycle import State
from invoicing.customers.life_cycle import with_state
from invoicing.customers.models import Customer
from invoicing.gate.queries import drafts_not_held
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.invoices.queries import AMOUNT_DUE, overdue
from invoicing.payments.models import FAILED_STATUSES, PaymentFailure, PushIntent, PushStatus, StripeNotice
from invoicing.spend.anomalies import open_anomalies
from invoicing.spend.queries import stopped_watches
from invoicing.subscriptions.queries import incomplete
from invoicing.workflows.late_changes import counted_late_changes
from invoicing.workflows.offboarding import customers_to_close
from invoicing.workflows.unsettled_commitments import unsettled_commitments
from metering.collecting.queries import waiting_letters
from metering.models import UnappliedReason
from metering.queries import events_of_unknown_customers
from metering.queries.contradictions import open_contradictions
from metering.queries.unapplied import unapplied_kinds

WHY_LENGTH = 120
MORE_OR_LESS = {Direction.ABOVE.value: "more", Direction.BELOW.value: "less"}
# Counting the usage of a line again takes about 10 ms; of more lines the index says only how many there are.
LATE_LINES_COUNTED_MAX = 20
DUE = DecimalField(max_digits=19, decimal_places=3)


def work_queues(*, at: datetime, name: str, allowed: Callable[[str], bool]) -> list[WorkQueue]:
    """Return every kind of work, in the order in which this person should look at it; `allowed` says what he may."""
    return [
        *approval_queues(name=name, allowed=allowed, at=at),
        held_queue(),
        draft_queue(),
        *push_queues(),
        stripe_queue(),
        failed_payments_queue(),
        *bank_queues(at=at),
        dispute_queue(),
        overdue_queue(at=at),
        *dunning_queues(at=at),
        *notice_queues(at=at),
        refund_queue(),
        *tax_queues(at=at),
        subscription_queue(),
        incomplete_queue(at=at),
        unsettled_queue(at=at),
        *progressive_queues(),
        stopped_queue(at=at),
        suspended_queue(),
        closing_queue(),
        unusual_queue(),
        rerating_queue(),
        month_queue(at=at),
        top_up_queue(),
        *usage_queues(at=at),
        dead_letter_queue(),
        meter_queue(),
        notice_queue(),
        document_queue(),
    ]


def draft_queue() -> WorkQueue:
    """Return the drafts that nothing holds; where runs are signed, they lead to the next one."""
    rows = list(
        drafts_not_held()
        .values("currency")
        .annotate(number_of=Count("id"), oldest=Min("drafted_at"), amount=Sum("total"))
    )
    signed = settings.BILLING_RUNS_NEED_APPROVAL
    return WorkQueue(
        name="Drafts to issue",
        link=reverse("admin:invoicing_runproposal_changelist") if signed else admin_list("invoice", "state=unheld"),
        empty="Billing runs put drafts here for review before they are issued.",
        count=sum(row["number_of"] for row in rows),
        oldest=min((row["oldest"] for row in rows), default=None),
        money=amounts_by_currency(rows),
        why="a billing run is due: propose it, and somebody else signs" if signed else "nobody has issued them yet",
    )


def push_queues() -> list[WorkQueue]:
    """Return the invoices that did not reach Stripe: those that wait for people, and those that are tried again by themselves."""
    rows = list(
        PushIntent.objects.exclude(status=PushStatus.PUSHED)
        # What was settled another way waits for nobody.
        .filter(invoice__status=InvoiceStatus.ISSUED)
        .values("status", currency=F("invoice__currency"))
        .annotate(
            number_of=Count("id"),
            failing=Count("id", filter=~Q(last_error="")),
            oldest=Min("created_at"),
            amount=Sum("invoice__total"),
            error=Max("last_error"),
        )
    )
    failed = [row for row in rows if row["status"] in FAILED_STATUSES]
    failing = [row for row in rows if row["status"] == PushStatus.PENDING and row["failing"]]
    return [
        WorkQueue(
            name="Invoices that Stripe did not take",
            link=admin_list("pushintent", "state=failed"),
            empty="An invoice that Stripe refuses, or could not take for hours, stands here until someone mends it and tries it again.",
            count=sum(row["number_of"] for row in failed),
            oldest=min((row["oldest"] for row in failed), default=None),
            money=amounts_by_currency(failed),
            why=_first_error(failed),
        ),
        WorkQueue(
            name="Invoices that are sent again",
            link=admin_list("pushintent", "state=failing"),
            empty="An invoice that could not be sent to Stripe and is sent again by itself stands here.",
            count=sum(row["failing"] for row in failing),
            oldest=min((row["oldest"] for row in failing), default=None),
            money=amounts_by_currency(failing),
            why=_first_error(failing),
        ),
    ]


def _first_error(rows: Iterable[Mapping[str, Any]]) -> str:
    text = max((row["error"] for row in rows), default="")
    return text if len(text) <= WHY_LENGTH else text[: WHY_LENGTH - 1] + "…"


def failed_payments_queue() -> WorkQueue:
    """Return the unpaid invoices whose charge was declined, by the newest reason."""
    newest = PaymentFailure.objects.filter(invoice=OuterRef("pk")).order_by("-occurred_at")
    rows = list(
        Invoice.objects.filter(status=InvoiceStatus.ISSUED)
        .annotate(code=Subquery(newest.values("code")[:1]), failed_at=Subquery(newest.values("occurred_at")[:1]))
        .filter(code__isnull=False)
        .values("currency", "code")
        .annotate(number_of=Count("id"), oldest=Min("failed_at"), amount=Sum(AMOUNT_DUE, output_field=DUE))
        .order_by("-number_of")
    )
    codes: dict[str, int] = {}
    for row in rows:
        codes[row["code"]] = codes.get(row["code"], 0) + row["number_of"]
    return WorkQueue(
        name="Payments that failed",
        link=admin_list("invoice", "state=failed"),
        empty="An unpaid invoice whose charge was declined stands here with the bank's reason.",
        count=sum(row["number_of"] for row in rows),
        oldest=min((row["oldest"] for row in rows), default=None),
        money=amounts_by_currency(rows),
        why=", ".join(f"{code.replace('_', ' ')} {number}" for code, number in list(codes.items())[:3]),
    )


def overdue_queue(*, at: datetime) -> WorkQueue:
    """Return the unpaid invoices past their due date."""
    rows = list(
        overdue(at=at)
        .order_by()
        .values("currency")
        .annotate(
            number_of=Count("id"),
            due=Min("due_date"),
            amount=Sum(AMOUNT_DUE, output_field=DUE),
            manual=Count("id", filter=Q(settlement_channel="manual")),
        )
    )
    oldest = min((row["due"] for row in rows), default=None)
    manual = sum(row["manual"] for row in rows)
    return WorkQueue(
        name="Overdue invoices",
        link=admin_list("invoice", "state=overdue"),
        empty="An issued invoice that is unpaid after its due date stands here.",
        count=sum(row["number_of"] for row in rows),
        oldest=datetime(oldest.year, oldest.month, oldest.day, tzinfo=at.tzinfo) if oldest else None,
        money=amounts_by_currency(rows),
        why=f"past their due date{f', {manual} by bank transfer' if manual else ''}",
    )


def notice_queue() -> WorkQueue:
    """Return the notices from Stripe that nobody has acted on."""
    row = StripeNotice.objects.filter(processed_at__isnull=True).aggregate(
        number_of=Count("id"), oldest=Min("received_at"), error=Max("last_error")
    )
    return WorkQueue(
        name="Stripe notices not processed",
        link=admin_list("stripenotice", "state=waiting"),
        empty="A notice from Stripe stands here until the worker has acted on it.",
        count=row["number_of"],
        oldest=row["oldest"],
        why=row["error"] or "the worker has not taken them yet",
    )


def incomplete_queue(*, at: datetime) -> WorkQueue:
    """Return the subscriptions whose trial is over and whose customer cannot pay (S1-043)."""
    names = list(incomplete(at=at).order_by("customer__name").values_list("customer__name", flat=True))
    return WorkQueue(
        name="Trials that ended without a means of payment",
        link=admin_list("subscription", "state=incomplete"),
        empty="A trial that ends without a payment method, where one is needed, stands here: it is charged, not free.",
        count=len(names),
        why=first_named(sorted(set(names))),
    )


def unsettled_queue(*, at: datetime) -> WorkQueue:
    """Return the commitments that are over and that no invoice will settle (S0-066)."""
    tranches = unsettled_commitments(at=at)
    return WorkQueue(
        name="Commitments that no invoice settles",
        link=admin_list("subscription", "state=unsettled"),
        empty="A commitment that is over while its subscription is paused or has ended, with no invoice to follow, stands here.",
        count=len(tranches),
        oldest=min((tranche.ends_at for tranche in tranches), default=None),
        why=first_named(sorted({tranche.subscription.customer.name for tranche in tranches})),
    )


def stopped_queue(*, at: datetime) -> WorkQueue:
    """Return the customers whose access a spend limit refuses (S0-141)."""
    rows = list(
        stopped_watches(at=at).order_by("customer__name").values("customer__name", "currency", amount=F("spend"))
    )
    return WorkQueue(
        name="Stopped by a spend limit",
        link=admin_list("spendwatch", "access=stopped"),
        empty="A customer whose spend has reached a limit that stops stands here until the period ends or the limit is raised.",
        count=len(rows),
        money=amounts_by_currency(rows),
        why=first_named([row["customer__name"] for row in rows]),
    )


def suspended_queue() -> WorkQueue:
    """Return the customers that are suspended: they are charged as agreed and not served, until somebody decides (S0-127)."""
    customers: QuerySet[Any] = with_state(Customer.objects.all())
    suspended = customers.filter(state=State.SUSPENDED.value)
    rows = list(suspended.order_by("state_since").values_list("name", "state_since"))
    return WorkQueue(
        name="Suspended customers",
        link=admin_list("customer", f"state={State.SUSPENDED.value}"),
        empty="A customer that is suspended stands here until it pays, or somebody gives up on it.",
        count=len(rows),
        oldest=rows[0][1] if rows else None,
        money=_owed(suspended),
        why=first_named([name for name, _ in rows]),
    )


def closing_queue() -> WorkQueue:
    """Return the customers that have churned and are not closed: invoices to be made, issued or paid are left (S0-129, S0-130)."""
    closing = customers_to_close()
    rows = list(closing.order_by("state_since").values_list("name", "state_since"))
    return WorkQueue(
        name="Churned customers to close",
        link=admin_list("customer", "state=closing"),
        empty="A customer that has churned stands here until its last invoice is issued and everything is paid.",
        count=len(rows),
        oldest=rows[0][1] if rows else None,
        money=_owed(closing),
        why=first_named([name for name, _ in rows]),
    )


def _owed(customers: QuerySet[Any]) -> tuple[Money, ...]:
    unpaid = Invoice.objects.filter(status=InvoiceStatus.ISSUED, customer__in=customers.values("pk"))
    owed = unpaid.order_by().values("currency")
    return amounts_by_currency(owed.annotate(amount=Sum(AMOUNT_DUE, output_field=DUE)))


def unusual_queue() -> WorkQueue:
    """Return the unusual days that nobody has looked into (S0-142)."""
    waiting = open_anomalies()
    figures = waiting.aggregate(number_of=Count("id"), oldest=Min("noticed_at"))
    newest = waiting.order_by("-id").values_list("customer__name", "direction", "meter")
    return WorkQueue(
        name="Unusual usage",
        link=admin_list("usageanomaly", "state=open"),
        empty="A day on which a customer uses unusually much or little stands here until somebody says what was found.",
        count=figures["number_of"],
        oldest=figures["oldest"],
        why="; ".join(f"{name}: {MORE_OR_LESS[direction]} {meter}" for name, direction, meter in newest[:2]),
    )


def dead_letter_queue() -> WorkQueue:
    """Return what collectors could not read as events."""
    waiting = waiting_letters()
    return WorkQueue(
        name="Dead letters",
        link=admin_list("deadletter", "state=waiting", app="metering"),
        empty="Rows of watched files and messages of Kafka that are no events stand here until they are replayed.",
        count=waiting.count,
        oldest=waiting.oldest,
        why=first_named(list(waiting.sources)),
    )


def usage_queues(*, at: datetime) -> list[WorkQueue]:
    """Return the usage that no invoice holds: late, charged by no plan, of unknown customers, counted by no meter."""
    page = reverse("admin:backoffice_usage_problems")
    unknown = events_of_unknown_customers(known_keys=list(Customer.objects.values_list("key", flat=True)))
    uncharged = uncharged_usage(at=at)
    return [
        late_usage_queue(at=at),
        WorkQueue(
            name="Usage that no plan charges",
            link=f"{page}#uncharged",
            empty="Usage outside of every subscription, or of a meter that the plan has no price for, stands here.",
            count=sum(row.event_count for row in uncharged),
            oldest=min((row.first_at for row in uncharged), default=None),
            why=first_named(sorted({row.customer_id for row in uncharged})),
        ),
        WorkQueue(
            name="Usage of unknown customers",
            link=f"{page}#unknown",
            empty="Events that name a customer who does not exist are kept and stand here.",
            count=sum(one.event_count for one in unknown),
            oldest=min((one.first_timestamp for one in unknown), default=None),
            why=first_named([one.customer_id for one in unknown]),
        ),
        *event_queues(),
    ]


def late_usage_queue(*, at: datetime) -> WorkQueue:
    """Return the issued lines whose usage changed since, with the money effect; of very many only how many there are."""
    found = counted_late_changes(at=at, lines_max=LATE_LINES_COUNTED_MAX)
    learnt = [change.first_learnt_at for change in found.changes if change.first_learnt_at is not None]
    asked = sum(change.decision is None for change in found.changes)
    count = len(found.changes) + len(found.failures) + found.uncounted
    waiting = f"{asked} {'waits' if asked == 1 else 'wait'} for a decision"
    settled = "it by the customer's terms" if count == 1 else "them by the customers' terms"
    why = waiting if asked else f"the next sweep settles {settled}"
    return WorkQueue(
        name="Late usage of issued lines",
        link=reverse("admin:invoicing_late_usage_desk"),
        empty="Usage that arrives, or is cancelled, after its invoice was issued stands here with its money effect.",
        count=count,
        oldest=min(learnt, default=None),
        money=() if found.uncounted else tuple(found.effects()),
        why=f"{len(found.failures)} cannot be rated" if found.failures else why,
    )


def event_queues() -> list[WorkQueue]:
    """Return the events that count nowhere, and those that contradict an accepted one."""
    # What filters leave out is left out on purpose: it is on the page, but nobody has to act on it.
    kinds = [kind for kind in unapplied_kinds() if kind.reason != UnappliedReason.FILTERED_OUT]
    waiting = open_contradictions()
    return [
        WorkQueue(
            name="Events in no window",
            link=admin_list("unappliedevent", app="metering"),
            empty="An accepted event that no meter counts, or that one cannot read, stands here with the reason.",
            count=sum(kind.event_count for kind in kinds),
            oldest=min((kind.first_received_at for kind in kinds), default=None),
            why=first_named(
                [
                    f"{kind.event_type}: {kind.label}" + (f" ({kind.count_text})" if kind.is_more else "")
                    for kind in kinds
                ]
            ),
        ),
        WorkQueue(
            name="Contradicting events",
            link=admin_list("eventconflict", "state=waiting", app="metering"),
            empty="An event that carries a known key and another content is refused, and stands here with both.",
            count=waiting.count,
            oldest=waiting.oldest,
            why=first_named(list(waiting.customers)),
        ),
    ]
