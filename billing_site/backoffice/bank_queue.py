"""Lines of bank statements that nobody has identified, and customers' money that waits on account."""

from datetime import UTC, datetime, time
from decimal import Decimal

from django.db.models import Count, DecimalField, Min, Q, Sum

from billing_site.backoffice.work_queue import WorkQueue, admin_list, amounts_by_currency
from invoicing.bank.queries import money_on_account, open_lines
from invoicing.workflows.unexplained import unexplained_sums

NUMBER: "DecimalField[Decimal, Decimal]" = DecimalField(max_digits=20, decimal_places=4)


def _unexplained() -> WorkQueue:
    """Return what moved Stripe's balance and nothing of ours explains."""
    found = unexplained_sums()
    return WorkQueue(
        name="Stripe's balance to explain",
        link=admin_list("stripetransaction", "state=unexplained"),
        empty="What moves Stripe's balance and is in no entry of ours stands here until it is, or somebody says what it is.",
        count=sum(one.count for one in found),
        oldest=min((one.oldest for one in found), default=None),
        money=amounts_by_currency([{"currency": one.currency, "amount": one.difference.amount} for one in found]),
        why=", ".join(sorted({kind.replace("_", " ") for one in found for kind in one.kinds})),
    )


def bank_queues(*, at: datetime) -> list[WorkQueue]:
    """Return what came in or went out and is not identified, and what customers have on account."""
    lines = list(
        open_lines()
        .order_by()
        .values("currency")
        .annotate(
            number_of=Count("id"),
            oldest=Min("booked_on"),
            came_in=Count("id", filter=Q(amount__gt=0)),
            reversals=Count("id", filter=Q(is_reversal=True)),
            # Last: what comes after it would read it for the column.
            amount=Sum("left_amount", output_field=NUMBER),
        )
    )
    lots = list(
        money_on_account()
        .order_by()
        .values("currency")
        .annotate(number_of=Count("id"), oldest=Min("allocated_at"), amount=Sum("rest", output_field=NUMBER))
    )
    count, came_in = sum(row["number_of"] for row in lines), sum(row["came_in"] for row in lines)
    reversals = sum(row["reversals"] for row in lines)
    oldest = min((row["oldest"] for row in lines), default=None)
    returned = f", {reversals} reversals" if reversals else ""
    return [
        WorkQueue(
            name="Bank lines to look at",
            link=admin_list("bankline", "state=open"),
            empty="A line of a bank statement stands here until it is a payment, money on account, or something else.",
            count=count,
            # A statement knows days: of today it is not said to lie in the future.
            oldest=min(at, datetime.combine(oldest, time(12), UTC)) if oldest else None,
            money=amounts_by_currency(lines),
            why=f"{came_in} came in, {count - came_in} went out{returned}" if count else "",
        ),
        _unexplained(),
        WorkQueue(
            name="Customers' money on account",
            link=admin_list("bankallocation", "state=on_account"),
            empty="What a customer paid beyond his invoices stands here until it is applied or paid back.",
            count=sum(row["number_of"] for row in lots),
            oldest=min((row["oldest"] for row in lots), default=None),
            money=amounts_by_currency(lots),
            why="to be applied to an invoice, or paid back",
        ),
    ]
