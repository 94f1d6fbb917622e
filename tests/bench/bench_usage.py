"""How long a customer-month of usage takes over HTTP, on top of many stored events, against the bare SQL of the same run.

    python -m tests.bench.bench_usage [--stored 10000000] [--requests 2000]

Customers (the largest and the smallest alike), meters and months are drawn evenly; one request at a time.
"""

import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

from tests.bench import ground

# isort: split
from tests.bench.documents import CUSTOMERS, TYPES
from tests.bench.filling import fill
from tests.bench.sending import USAGE, Line

MONTHS = 12
BARE = """
    SELECT date_trunc('day', start, 'UTC'), sum(value) FROM metering_usagewindow
    WHERE meter_id = (SELECT id FROM metering_meter WHERE key = %s) AND customer_id = %s AND start >= %s AND start < %s
    GROUP BY 1
"""


def main() -> None:
    parser = ground.arguments(__doc__, minutes=60)
    parser.add_argument("--stored", type=int, default=10_000_000, help="(%(default)s)")
    parser.add_argument("--requests", type=int, default=2000, help="of each kind (%(default)s)")
    options = parser.parse_args()
    with ground.standing(minutes=options.minutes):
        fill(events=options.stored)
        windows = ground.one("SELECT count(*) FROM metering_usagewindow")
        with ground.serving() as served:
            line = Line(port=served.address.port, key=served.key)
            kinds: dict[str, Callable[[str, str, str, str], object]] = {
                "bare SQL: days of a customer-month (floor)": lambda meter, customer, start, end: ground.one(
                    BARE, meter, customer, start, end
                ),
                "GET /health: no usage at all": lambda *_: answered(line, "/health"),
                "GET /usage: days of a customer-month": lambda *asked: usage(line, *asked),
                "GET /usage: the month as a whole": lambda *asked: usage(line, *asked, "granularity=month"),
                "GET /usage: hours of the month": lambda *asked: usage(line, *asked, "granularity=hour"),
                "GET /usage: by region, a dimension": lambda _, *asked: usage(line, "m2", *asked, "group_by=region"),
                "GET /usage: by region, from raw events": lambda _, *asked: usage(
                    line, "m0", *asked, "group_by=region"
                ),
                "GET /usage: the largest customer's month": lambda meter, _, *span: usage(
                    line, meter, "cust_0000", *span
                ),
            }
            rows: list[list[Any]] = []
            for name, ask in kinds.items():
                taken = sorted(milliseconds(ask, options.requests))
                rows.append([name, *(ground.percentile(taken, share) for share in (0.5, 0.99)), taken[-1]])
        title = f"{ground.stored():,} events in {windows:,} windows, {options.requests:,} requests of each kind"
        ground.show(title, ("p50 ms", "p99 ms", "max ms"), rows)


def milliseconds(ask: Callable[[str, str, str, str], object], count: int) -> Iterator[float]:
    """Yield what single questions took; the questions of each kind are the same."""
    chance = random.Random(3)
    today = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    months = [months_before(today, number) for number in range(MONTHS + 1)]
    for _ in range(count):
        month = chance.randrange(MONTHS)
        asked = (f"m{chance.randrange(TYPES)}", f"cust_{chance.randrange(CUSTOMERS):04d}")
        began = perf_counter()
        ask(*asked, f"{months[month + 1]:%Y-%m-%dT%H:%M:%SZ}", f"{months[month]:%Y-%m-%dT%H:%M:%SZ}")
        yield (perf_counter() - began) * 1000


def months_before(moment: datetime, count: int) -> datetime:
    number = moment.year * 12 + moment.month - 1 - count
    return moment.replace(year=number // 12, month=number % 12 + 1)


def usage(line: Line, meter: str, customer: str, start: str, end: str, *more: str) -> None:
    question = "&".join((f"meter={meter}", f"customer_id={customer}", f"start={start}", f"end={end}", *more))
    answered(line, f"{USAGE}?{question}")


def answered(line: Line, address: str) -> None:
    status, answer = line.get(address)
    assert status == 200, answer[:300]


if __name__ == "__main__":
    main()
