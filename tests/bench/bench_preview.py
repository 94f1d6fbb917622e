"""How many customers a dry run of billing computes in a second, reading usage left out, against an empty loop over the same rows.

    python -m tests.bench.bench_preview [--customers 10000]

Every customer has a fee and graduated, volume, package and per-unit prices of four meters, and one month that is due.
Usage is made up, another one for each charge.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from time import perf_counter, process_time
from typing import Any

from tests.bench import ground

# isort: split
from billing_site.kernel.period import Period
from invoicing.catalog.operations import load_catalog
from invoicing.customers.models import Customer
from invoicing.entities.operations import first_entity
from invoicing.workflows.compute_invoice import Measure, compute_in_place, usage_of_charge
from invoicing.workflows.preview_billing import preview_batch
from invoicing.workflows.run_report import RunReport, due_in_batches
from metering.queries import MeterUsage

CUSTOMERS = """
    INSERT INTO invoicing_customer (key, name, email, currency, timezone, address, tax_id, settlement_channel, net_terms_days, payment_method)
    SELECT 'cust_' || number, 'Customer ' || number, '', 'USD', 'UTC', '', '', 'manual', 14, '' FROM generate_series(1, %s) number
"""
SUBSCRIPTIONS = """
    WITH started AS (
        INSERT INTO invoicing_subscription (key, customer_id, anchor, started_at)
        SELECT 'sub_' || key, id, 'calendar', %s FROM invoicing_customer RETURNING id
    )
    INSERT INTO invoicing_subscriptionphase (subscription_id, plan_version_id, kind, quantity, starts_at)
    SELECT id, (SELECT max(id) FROM invoicing_planversion), 'active', 1, %s FROM started
"""
TIERS = [
    {"up_to": "1000", "unit_amount": "0.01"},
    {"up_to": "10000", "unit_amount": "0.008", "flat_amount": "1"},
    {"up_to": "100000", "unit_amount": "0.005"},
    {"up_to": None, "unit_amount": "0.0025"},
]
PRICES: list[dict[str, Any]] = [
    {"key": "base", "name": "Base fee", "model": "flat", "unit_amount": "29"},
    {"key": "m0", "name": "Actions", "meter": "m0", "model": "graduated", "tiers": TIERS},
    {"key": "m1", "name": "Calls", "meter": "m1", "model": "volume", "tiers": TIERS},
    {"key": "m2", "name": "Storage", "meter": "m2", "model": "package", "package_size": "1000", "package_amount": "2"},
    {"key": "m3", "name": "Peak", "meter": "m3", "model": "per_unit", "unit_amount": "0.0002", "free_units": "100"},
]
STARTED_AT, AS_OF = datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 8, 1, tzinfo=UTC)
LINES_TRIED = 200


def main() -> None:
    parser = ground.arguments(__doc__, minutes=10)
    parser.add_argument("--customers", type=int, default=10_000, help="with a subscription each (%(default)s)")
    options = parser.parse_args()
    with ground.standing(minutes=options.minutes):
        fill(options.customers)
        preview()
        rows = list(Customer.objects.order_by("pk"))
        report, wall, busy = preview()
        assert len(report.previews) == options.customers and not report.failures, report.failures[:3]
        empty = timed(lambda: [None for _ in report.previews])
        tried = rows[:LINES_TRIED]
        period = report.previews[0].period
        lines = timed(lambda: [line_by_line(customer, period) for customer in tried])
        totals = {one.customer.pk: one.total for one in report.previews}
        assert all(line_by_line(customer, period) == totals[customer.pk] for customer in tried[:20])
        title = f"{options.customers:,} customers, {len(PRICES)} charges each; usage is made up, not read"
        ground.show(
            title,
            ("customers/s", "seconds", "CPU s"),
            [
                ["empty loop over the same rows (floor)", ratio(len(totals), empty[0]), *empty],
                ["dry run in one go: gather, rate, sum", ratio(len(totals), wall), wall, busy],
                [f"one by one with lines and words ({len(tried)})", ratio(len(tried), lines[0]), *lines],
            ],
        )


def preview() -> tuple[RunReport, float, float]:
    """The dry run as the product makes it, from reading the customers to the totals, with usage from memory."""
    report = RunReport()

    def run() -> None:
        for batch in due_in_batches(as_of=AS_OF, customer_key="", report=report):
            preview_batch(batch=batch, report=report, as_of=AS_OF, measures=lambda customer, period: made_up(customer))

    wall, busy = timed(run)
    return report, wall, busy


def made_up(customer: Customer) -> Measure:
    """Usage that differs by customer and meter."""

    def measure(consumer: str, keys: list[str], service: Period) -> dict[str, MeterUsage]:
        return {
            key: MeterUsage(Decimal(customer.pk * 7919 % 1_000_003 + place).scaleb(-1), 1, 1, "", 1)
            for place, key in enumerate(keys)
        }

    return measure


def line_by_line(customer: Customer, period: Period) -> Any:
    computed = compute_in_place(
        customer=customer, period=period, in_place={}, measure=made_up(customer), as_needed=usage_of_charge
    )
    return computed.assembled.total


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds and the CPU seconds of this process that something takes."""
    began, busy = perf_counter(), process_time()
    run()
    return perf_counter() - began, process_time() - busy


def ratio(count: int, seconds: float) -> float:
    return count / max(seconds, 1e-9)


def fill(customers: int) -> None:
    """Store the customers with their plan, unless a run before has done so; nobody else's customers may be there."""
    stored = ground.one("SELECT count(*) FROM invoicing_customer")
    own = ground.one("SELECT count(*) FROM invoicing_plan WHERE key = 'scale'")
    if stored and (not own or stored != customers):
        raise SystemExit(f"{stored:,} other customers are stored here: give BENCH_DATA_DIR a folder of its own")
    if stored:
        return
    first_entity()
    document = {
        "products": [{"key": "platform", "name": "Platform"}],
        "plans": [
            {
                "key": "scale",
                "name": "Scale",
                "product": "platform",
                "prices": [{"currency": "USD", **price} for price in PRICES],
            }
        ],
    }
    load_catalog(document=document, at=datetime(2020, 1, 1, tzinfo=UTC), actor="bench", reason="bench")
    ground.execute(CUSTOMERS, customers)
    ground.execute(SUBSCRIPTIONS, STARTED_AT, STARTED_AT)
    ground.execute("ANALYZE")


if __name__ == "__main__":
    main()
