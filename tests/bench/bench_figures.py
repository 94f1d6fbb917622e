"""How long the figure of money at risk takes over many open cases, against a bare sum of the same rows in the same run.

python -m tests.bench.bench_figures [--cases 10000] [--repeats 5]
"""

from collections.abc import Callable
from datetime import UTC, date, datetime
from statistics import median
from time import perf_counter
from typing import Any

from tests.bench import ground

# isort: split
from dunning.figures.answering import ALL
from dunning.figures.queries import counted, figure
from dunning.figures.source import Asked
from dunning.policies.operations import ensure_presets
from tests.bench.bench_access import CUSTOMERS, STARTED_AT, SUBSCRIPTIONS
from tests.factories import a_customer, a_plan, a_subscription, usd_fee

ASKED = Asked(date(2026, 7, 1), date(2026, 9, 1), datetime(2026, 9, 1, 12, tzinfo=UTC))
INVOICES = """
    INSERT INTO invoicing_invoice (series_id, number, issued_at, due_date, customer_id, kind, key, status, currency, subtotal, total, amount_paid, period_start, period_end,
                                   timezone, drafted_at, customer_name, customer_email, customer_address, customer_tax_id, seller,
                                   settlement_channel, content_digest, seal, previous_seal)
    SELECT 1, 'B-' || id, %s, '2026-08-15', id, 'one_off', 'bench ' || id, 'issued', 'USD', 29, 29, 0, %s, %s, 'UTC', %s, name, '', '', '', '{}', 'manual', '', 'sealed', ''
      FROM invoicing_customer
"""
CASES = """
    INSERT INTO dunning_dunningcase (customer_id, policy_id, state, state_since, anchor_invoice_id, anchor_day, opened_at, next_number,
                                     next_due_at, waits_because)
    SELECT customer_id, (SELECT min(id) FROM dunning_policyversion), 'open', %s, id, '2026-08-15', %s, 1, %s, '' FROM invoicing_invoice
"""
BARE = """
    SELECT sum(price.unit_amount * phase.quantity) FROM dunning_dunningcase dunning
      JOIN invoicing_subscription held ON held.customer_id = dunning.customer_id
      JOIN invoicing_subscriptionphase phase ON phase.subscription_id = held.id
      JOIN invoicing_price price ON price.plan_version_id = phase.plan_version_id
"""


def main() -> None:
    parser = ground.arguments(__doc__, minutes=10)
    parser.add_argument("--cases", type=int, default=10_000, help="open, of a customer each (%(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="the median counts (%(default)s)")
    options = parser.parse_args()
    with ground.standing(minutes=options.minutes):
        fill(options.cases)
        kinds: dict[str, Callable[[], object]] = {
            "bare SQL: the fees of who has a case (floor)": lambda: ground.one(BARE),
            "money at risk, the whole figure": lambda: figure(name="risk", asked=ASKED),
            "the list behind its recurring revenue": lambda: counted(
                name="risk", asked=ASKED, bar=ALL, measure="recurring", currency="USD"
            ),
        }
        rows: list[list[Any]] = []
        floor = 0.0
        for name, ask in kinds.items():
            taken = median(milliseconds(ask, options.repeats))
            floor = floor or taken
            rows.append([name, taken, taken / floor])
        ground.show(f"{options.cases:,} open cases", ("ms", "times the floor"), rows)


def fill(cases: int) -> None:
    """Store customers with an overdue invoice and a case each, unless a run before has done so; guards of documents are not what is measured."""
    if ground.one("SELECT count(*) FROM dunning_dunningcase"):
        return
    ensure_presets()
    a_plan("pro", usd_fee())
    a_subscription(a_customer("cust_1"), started_at=STARTED_AT)
    ground.execute(CUSTOMERS, cases)
    ground.execute(SUBSCRIPTIONS, STARTED_AT, STARTED_AT)
    ground.execute("SET session_replication_role = replica")
    ground.execute(INVOICES, STARTED_AT, STARTED_AT, STARTED_AT, STARTED_AT)
    ground.execute(CASES, STARTED_AT, STARTED_AT, STARTED_AT)
    ground.execute("SET session_replication_role = DEFAULT")
    ground.execute("ANALYZE")


def milliseconds(ask: Callable[[], object], repeats: int) -> list[float]:
    """Return what each time took."""
    found = []
    for _ in range(repeats):
        began = perf_counter()
        ask()
        found.append((perf_counter() - began) * 1000)
    return found


if __name__ == "__main__":
    main()
