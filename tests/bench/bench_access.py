"""How long "may this customer be served?" takes over HTTP, among many customers, against the bare SQL of the same run.

python -m tests.bench.bench_access [--customers 10000] [--requests 2000]
"""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from tests.bench import ground

# isort: split
from billing_site.kernel.clock import now
from invoicing.workflows.answer_access import answer_access
from tests.bench.sending import Line
from tests.factories import a_customer, a_plan, a_subscription, usd_fee

STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC)
CUSTOMERS = """
    INSERT INTO invoicing_customer (key, name, email, currency, timezone, address, tax_id, settlement_channel, net_terms_days, payment_method)
    SELECT 'cust_' || number, 'Customer', '', 'USD', 'UTC', '', '', 'manual', 14, '' FROM generate_series(2, %s) number
"""
SUBSCRIPTIONS = """
    WITH started AS (
        INSERT INTO invoicing_subscription (key, customer_id, anchor, started_at)
        SELECT 'sub_' || key, id, 'calendar', %s FROM invoicing_customer WHERE key <> 'cust_1' RETURNING id
    )
    INSERT INTO invoicing_subscriptionphase (subscription_id, plan_version_id, kind, quantity, starts_at)
    SELECT id, (SELECT min(id) FROM invoicing_planversion), 'active', 1, %s FROM started
"""
BARE = """
    SELECT kind FROM invoicing_subscriptionphase phase JOIN invoicing_subscription held ON held.id = phase.subscription_id
    JOIN invoicing_customer customer ON customer.id = held.customer_id WHERE customer.key = %s
"""


def main() -> None:
    parser = ground.arguments(__doc__, minutes=10)
    parser.add_argument("--customers", type=int, default=10_000, help="with a subscription each (%(default)s)")
    parser.add_argument("--requests", type=int, default=2000, help="of each kind (%(default)s)")
    options = parser.parse_args()
    with ground.standing(minutes=options.minutes):
        fill(options.customers)
        with ground.serving() as served:
            line = Line(port=served.address.port, key=served.key)
            kinds: dict[str, Callable[[str], object]] = {
                "bare SQL: the phases of a customer (floor)": lambda customer: ground.one(BARE, customer),
                "the query and its verdict, in process": lambda customer: answer_access(
                    customer_key=customer, at=now()
                ),
                "GET /health: no customer at all": lambda _: answered(line, "/health"),
                "GET /customers/{key}/access": lambda customer: answered(line, f"/api/v1/customers/{customer}/access"),
            }
            rows: list[list[Any]] = []
            for name, ask in kinds.items():
                taken = sorted(milliseconds(ask, options.requests, options.customers))
                rows.append([name, *(ground.percentile(taken, share) for share in (0.5, 0.99)), taken[-1]])
        title = f"{options.customers:,} customers, {options.requests:,} requests of each kind"
        ground.show(title, ("p50 ms", "p99 ms", "max ms"), rows)


def fill(customers: int) -> None:
    """Store the customers, unless a run before has done so."""
    if ground.one("SELECT count(*) FROM invoicing_customer"):
        return
    a_plan("pro", usd_fee())
    a_subscription(a_customer("cust_1"))
    ground.execute(CUSTOMERS, customers)
    ground.execute(SUBSCRIPTIONS, STARTED_AT, STARTED_AT)
    ground.execute("ANALYZE")


def milliseconds(ask: Callable[[str], object], count: int, customers: int) -> Iterator[float]:
    """Yield what single questions took; the questions of each kind are the same."""
    chance = random.Random(3)
    for _ in range(count):
        customer = f"cust_{chance.randint(1, customers)}"
        began = perf_counter()
        ask(customer)
        yield (perf_counter() - began) * 1000


def answered(line: Line, address: str) -> None:
    status, answer = line.get(address)
    assert status == 200, answer[:300]


if __name__ == "__main__":
    main()
