"""Loads the demo: company, usage, bills and payments, month by month, all through the ways that are open to everybody.

Every step may run again: a run that was broken off goes on where it stopped. Keys are the same, so what was sent
already is a duplicate; what was billed already is not billed again.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from billing_site.demo.aftermath import send_aftermath
from billing_site.demo.agreements import bill_while_the_month_runs, set_budgets
from billing_site.demo.banking import bring_bank_statement
from billing_site.demo.company import CUSTOMERS
from billing_site.demo.disputing import dispute_payments
from billing_site.demo.errors import DemoFailed
from billing_site.demo.founding import found_company, let_cards_go_bad, sign_up
from billing_site.demo.keepsake import (
    Completion,
    demo_created_at,
    ensure_api_key,
    ensure_login,
    ensure_staff_logins,
    note_completion,
)
from billing_site.demo.months import Leg, legs_until, openings_at
from billing_site.demo.sending import send_events
from billing_site.demo.settling import (
    record_transfers,
    settled_count,
    turn_stripes_clock,
    wait_for_payments,
    wait_for_stripe,
)
from billing_site.demo.tidying import tidy_up
from billing_site.demo.usage import usage_of
from billing_site.kernel.clock import now
from invoicing.invoices.models import Invoice, InvoiceStatus
from invoicing.workflows.bill_progressively import sweep_progressive
from invoicing.workflows.expire_credits import expire_credits
from invoicing.workflows.run_billing import issue_billing
from metering.models import UsageEvent
from metering.rollup import roll_up

# So far the last month that is billed has come when some customers have used what they have on credit.
RUN_FOR = timedelta(days=20)
# A card is charged as soon as its invoice is at Stripe.
CHARGED_AFTER = timedelta(minutes=20)


def load_demo(*, url: str, sandbox_url: str, console: Console, look: Callable[[], None]) -> Completion:
    """Load what is missing into the product that runs at `url`; `look` lets its supervisor look after it.

    Raises DemoFailed.
    """
    user = ensure_login()
    ensure_staff_logins()
    key = ensure_api_key()
    columns = TextColumn("{task.description:<34}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        turn = partial(turn_stripes_clock, sandbox_url=sandbox_url)
        created_at = _found(progress)
        legs = legs_until(created_at=created_at)
        turn(to=openings_at(legs=legs) + CHARGED_AFTER)
        _bill(openings_at(legs=legs), progress=progress)
        repeated = 0
        for leg in legs:
            repeated += _send(leg, legs=legs, created_at=created_at, url=url, key=key, progress=progress)
            look()
            if not leg.is_billed:
                continue
            # What was billed before is charged by the clock of its days, while usage was sent.
            wait_for_stripe(sandbox_url=sandbox_url, look=look)
            if leg is _last_billed(legs):
                turn(to=leg.start + RUN_FOR + CHARGED_AFTER)
                bill_while_the_month_runs(at=leg.start + RUN_FOR)
                wait_for_stripe(sandbox_url=sandbox_url, look=look)
                let_cards_go_bad()
            turn(to=leg.end + CHARGED_AFTER)
            _bill(leg.end, progress=progress)
            record_transfers(last_leg_end=_last_billed(legs).end, legs=legs)
        roll_up()
        _collect(progress, sandbox_url=sandbox_url, look=look)
        turn(to=now())
        bring_bank_statement()
        dispute_payments(sandbox_url=sandbox_url)
        send_aftermath(legs=legs, created_at=created_at, url=url, key=key)
        roll_up()
        set_budgets(billed_until=_last_billed(legs).end)
        sweep_progressive(at=now())
        wait_for_payments(sandbox_url=sandbox_url, look=look, progress=lambda _: None)
        expire_credits(at=now())
        _tidy_up(progress, first_day=legs[0].start)
    noted = Completion(events=UsageEvent.objects.count(), duplicates=repeated, invoices=_issued_count())
    note_completion(user=user, noted=noted)
    return noted


def _found(progress: Progress) -> datetime:
    """Found the company; returns the moment of its first creation, on which everything else hangs."""
    task = progress.add_task("Customers and plans", total=len(CUSTOMERS))
    assumed = demo_created_at() or now()
    first_day = legs_until(created_at=assumed)[0].start
    found_company(first_day=first_day)
    for number in range(len(CUSTOMERS)):
        sign_up(number=number, first_day=first_day)
        progress.advance(task)
    created_at = demo_created_at()
    assert created_at is not None, "the first customer exists now"
    if legs_until(created_at=created_at)[0].start != first_day:
        raise DemoFailed("The month has changed under the first step: remove the data folder and start again.")
    return created_at


def _send(leg: Leg, *, legs: list[Leg], created_at: datetime, url: str, key: str, progress: Progress) -> int:
    """Send the usage of a leg; returns how many of its events are sent twice on purpose."""
    lines = usage_of(leg=leg, first_day=legs[0].start, created_at=created_at)
    month = f"{leg.start:%B}" if leg.is_billed else f"{leg.start:%B} so far"
    task = progress.add_task(f"Usage events, {month}", total=len(lines))
    receipt = send_events(url=url, key=key, lines=lines, progress=partial(progress.advance, task))
    assert receipt.accepted + receipt.duplicates == len(lines), "every event is either new or known"
    return len(lines) - len(set(lines))


def _bill(at: datetime, *, progress: Progress) -> None:
    task = progress.add_task(f"Invoices on {at:%-d %B %Y}", total=None)

    def show(done: int, total: int) -> None:
        progress.update(task, completed=done, total=total)

    report = issue_billing(as_of=at, at=at, actor="demo", progress=show)
    if report.failures:
        failure = report.failures[0]
        raise DemoFailed(
            f"{len(report.failures)} could not be billed, the first: {failure.customer}: {failure.message}"
        )
    _finish(progress, task)


def _collect(progress: Progress, *, sandbox_url: str, look: Callable[[], None]) -> None:
    task = progress.add_task("Payments through the sandbox", total=_issued_count())
    wait_for_payments(
        sandbox_url=sandbox_url, look=look, progress=lambda settled: progress.update(task, completed=settled)
    )
    progress.update(task, completed=settled_count())


def _tidy_up(progress: Progress, *, first_day: datetime) -> None:
    task = progress.add_task("Credit note, write-off, month close", total=None)
    tidy_up(first_day=first_day, at=now())
    _finish(progress, task)


def _finish(progress: Progress, task: TaskID) -> None:
    """Fill the bar of a step that had nothing left to do."""
    known = progress.tasks[task]
    if known.total is None:
        progress.update(task, total=known.completed or 1, completed=known.completed or 1)


def _last_billed(legs: list[Leg]) -> Leg:
    return [leg for leg in legs if leg.is_billed][-1]


def _issued_count() -> int:
    return Invoice.objects.exclude(status=InvoiceStatus.DRAFT).count()
