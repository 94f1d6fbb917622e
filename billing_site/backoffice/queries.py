"""The data of the index: what needs someone, how the month stands, whether everything flows. A bounded number of queries."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import Count, F, Min, Q, Sum
from django.urls import reverse
from django_q.models import OrmQ, Task
from moneyed import Money

from billing_site.backoffice.work_queues import DUE, WorkQueue, work_queues
from billing_site.display.figures import age, quantity
from billing_site.kernel.money import round_money
from invoicing.invoices.models import BillingRun, Invoice, InvoiceStatus
from invoicing.invoices.queries import AMOUNT_DUE
from invoicing.payments.models import Payment, PushIntent, PushStatus, StripeNotice
from metering.queries import backlog

CHART_DAYS = 42
# A worker that has finished nothing for this long is not taken for alive.
WORKER_SILENCE_MAX = timedelta(minutes=5)
# Pushes and notices that wait longer than this are late.
WAITING_MAX = timedelta(minutes=10)


@dataclass(frozen=True)
class MonthFigures:
    """How this month's invoices of one currency stand."""

    currency: str
    issued: Money
    issued_count: int
    issued_before: Money
    collected: Money
    overdue: Money

    @property
    def collected_percent(self) -> Decimal | None:
        """Return the collected part of what was issued this month, in percent with one decimal."""
        return _percent(self.collected, self.issued)

    @property
    def against_last_month(self) -> Decimal | None:
        """Return how much more (or less) was issued than in the whole month before, in percent."""
        percent = _percent(self.issued, self.issued_before)
        return None if percent is None else percent - 100


@dataclass(frozen=True)
class DayFigures:
    """What was issued and collected on one UTC day in one currency."""

    day: date
    issued: Decimal
    collected: Decimal


@dataclass(frozen=True)
class Flow:
    """Whether one of the streams through the house is moving; `state` is a pill's word."""

    name: str
    state: str
    detail: str
    link: str


@dataclass(frozen=True)
class IndexPage:
    """Everything on the index."""

    at: datetime
    queues: list[WorkQueue]
    months: list[MonthFigures]
    days: dict[str, list[DayFigures]]
    flows: list[Flow]

    @property
    def waiting(self) -> list[WorkQueue]:
        """Return the queues in which something waits."""
        return [queue for queue in self.queues if queue.count]

    @property
    def quiet(self) -> list[WorkQueue]:
        """Return the queues in which nothing waits."""
        return [queue for queue in self.queues if not queue.count]

    @property
    def is_quiet(self) -> bool:
        """Say whether nothing waits for anyone."""
        return not self.waiting


def anybody(_: str) -> bool:
    """Allow everything: what waits for whoever may."""
    return True


def index_page(*, at: datetime, name: str = "", allowed: Callable[[str], bool] = anybody) -> IndexPage:
    """Return the index as of `at`, as one person sees it, or with all that waits; the number of queries does not depend on the number of rows."""
    queues = work_queues(at=at, name=name, allowed=allowed)
    return IndexPage(at=at, queues=queues, months=_months(at=at), days=_days(at=at), flows=_flows(at=at))


def _months(*, at: datetime) -> list[MonthFigures]:
    this_month = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    last_month = (this_month - timedelta(days=1)).replace(day=1)
    this = Q(issued_at__gte=this_month)
    rows = (
        Invoice.objects.exclude(status__in=(InvoiceStatus.DRAFT, InvoiceStatus.VOID))
        .filter(Q(issued_at__gte=last_month) | Q(status=InvoiceStatus.ISSUED, due_date__lt=at.date()))
        .values("currency")
        .annotate(
            issued=Sum("total", filter=this),
            issued_count=Count("id", filter=this),
            issued_before=Sum("total", filter=Q(issued_at__gte=last_month, issued_at__lt=this_month)),
            collected=Sum("amount_paid", filter=this),
            overdue_sum=Sum(
                AMOUNT_DUE,
                filter=Q(status=InvoiceStatus.ISSUED, due_date__lt=at.date()),
                output_field=DUE,
            ),
        )
        .order_by("currency")
    )

    def amount(row: Mapping[str, Any], name: str) -> Money:
        return round_money(row[name] or Decimal(0), str(row["currency"]))

    return [
        MonthFigures(
            currency=row["currency"],
            issued=amount(row, "issued"),
            issued_count=row["issued_count"],
            issued_before=amount(row, "issued_before"),
            collected=amount(row, "collected"),
            overdue=amount(row, "overdue_sum"),
        )
        for row in rows
    ]


def _days(*, at: datetime) -> dict[str, list[DayFigures]]:
    first = at.date() - timedelta(days=CHART_DAYS - 1)
    since = datetime(first.year, first.month, first.day, tzinfo=UTC)
    issued = _by_day(
        Invoice.objects.exclude(status__in=(InvoiceStatus.DRAFT, InvoiceStatus.VOID))
        .filter(issued_at__gte=since)
        .values("currency", day=F("issued_at__date"))
        .annotate(amount=Sum("total"))
    )
    collected = _by_day(
        Payment.objects.filter(received_at__gte=since, reversal__isnull=True)
        .values("currency", day=F("received_at__date"))
        .annotate(amount=Sum("amount"))
    )
    days = [first + timedelta(days=number) for number in range(CHART_DAYS)]
    return {
        currency: [
            DayFigures(
                day=day,
                issued=issued.get((currency, day), Decimal(0)),
                collected=collected.get((currency, day), Decimal(0)),
            )
            for day in days
        ]
        for currency in sorted({currency for currency, _ in (*issued, *collected)})
    }


def _by_day(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[str, date], Decimal]:
    return {(row["currency"], row["day"]): row["amount"] for row in rows}


def _percent(part: Money, whole: Money) -> Decimal | None:
    if whole.amount <= 0:
        return None
    return (part.amount * 100 / whole.amount).quantize(Decimal("0.1"))


def _flows(*, at: datetime) -> list[Flow]:
    return [_ingest_flow(at=at), _billing_flow(at=at), *_stripe_flows(at=at), _worker_flow(at=at)]


def _ingest_flow(*, at: datetime) -> Flow:
    link = reverse("admin:metering_usageevent_changelist")
    waiting = backlog()
    if not waiting.events or waiting.oldest_received_at is None:
        return Flow("rollup", "ok", "every accepted event is in its window", link)
    is_late = waiting.lag(at=at).total_seconds() > settings.ROLLUP_LAG_ALARM_SECONDS
    told = (
        f"{quantity(waiting.events, 'event')} behind, the oldest since {age(since=waiting.oldest_received_at, at=at)}"
    )
    if is_late:
        told += ": is `manage.py roll_up --watch` running?"
    return Flow("rollup", "stopped" if is_late else "ok", told, link)


def _billing_flow(*, at: datetime) -> Flow:
    link = reverse("admin:invoicing_billingrun_changelist")
    run = BillingRun.objects.filter(trial_of="").order_by("-id").first()
    if run is None:
        return Flow("billing", "unknown", "no run yet", link)
    failures = len(run.failures)
    if run.finished_at is None:
        return Flow(
            "billing", "late", f"run {run.pk} began {age(since=run.started_at, at=at)} ago and has not ended", link
        )
    told = f"last run {age(since=run.finished_at, at=at)} ago, {run.drafted_count} drafted, {run.issued_count} issued"
    return Flow("billing", "failed" if failures else "ok", f"{told}, {failures} failed" if failures else told, link)


def _stripe_flows(*, at: datetime) -> list[Flow]:
    pushes = PushIntent.objects.filter(status=PushStatus.PENDING).aggregate(
        waiting=Count("id"), oldest=Min("created_at")
    )
    notices = StripeNotice.objects.filter(processed_at__isnull=True).aggregate(
        waiting=Count("id"), oldest=Min("received_at")
    )
    return [
        _waiting(
            "to Stripe", pushes, at=at, link=reverse("admin:invoicing_pushintent_changelist") + "?status__exact=pending"
        ),
        _waiting(
            "from Stripe", notices, at=at, link=reverse("admin:invoicing_stripenotice_changelist") + "?state=waiting"
        ),
    ]


def _waiting(name: str, row: dict[str, Any], *, at: datetime, link: str) -> Flow:
    if not row["waiting"]:
        return Flow(name, "ok", "none waiting", link)
    late = at - row["oldest"] > WAITING_MAX
    return Flow(
        name, "late" if late else "ok", f"{row['waiting']} waiting, oldest {age(since=row['oldest'], at=at)}", link
    )


def _worker_flow(*, at: datetime) -> Flow:
    link = reverse("admin:django_q_ormq_changelist")
    last = Task.objects.order_by("-stopped").values_list("stopped", flat=True).first()
    queued = OrmQ.objects.count()
    if last is None:
        return Flow("worker", "stopped" if queued else "unknown", f"no job done yet, {queued} queued", link)
    state = "running" if at - last < WORKER_SILENCE_MAX else "stopped"
    return Flow("worker", state, f"last job {age(since=last, at=at)} ago, {queued} queued", link)
