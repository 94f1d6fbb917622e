"""How long Stripe waits for the answer to a webhook at a steady rate, against an empty view and a bare INSERT of the same run.

    python -m tests.bench.bench_webhook [--rate 200] [--seconds 10]

The product is served as in production (granian, two workers); the client is a process of its own, sends each delivery when it is due, and counts from
then. All of it shares the machine; CPU is that of the web and of the whole PostgreSQL for each delivery. Exit 1 if a figure is over what may be.
"""

from collections.abc import Iterator
from time import perf_counter
from typing import Any
from uuid import uuid4

from django.conf import settings

from tests.bench import ground

# isort: split
from invoicing.payments.models import StripeNotice

ANSWER_MILLISECONDS_MAX = 100
CONNECTIONS = 16
BARE = """
    INSERT INTO bench_notice (event_id, body) VALUES (%s, %s) ON CONFLICT (event_id) DO NOTHING RETURNING id
"""
EMPTY = "/favicon.ico"


def main() -> None:
    parser = ground.arguments(__doc__, minutes=5)
    parser.add_argument("--rate", type=float, default=200, help="deliveries a second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="of each kind (%(default)s)")
    parser.add_argument("--inserts", type=int, default=2000, help="for the floor (%(default)s)")
    options = parser.parse_args()
    count = max(1, int(options.rate * options.seconds))
    with ground.standing(minutes=options.minutes):
        rows: list[list[Any]] = [bare_inserts(options.inserts)]
        with ground.serving() as served:
            rows.append(deliveries(served, "an empty view (floor)", options.rate, count, empty=True))
            rows.append(deliveries(served, "POST /webhooks/stripe, each event once", options.rate, count))
            rows.append(
                deliveries(served, "POST /webhooks/stripe, each event three times", options.rate, count, times=3)
            )
            forged = deliveries(served, "POST /webhooks/stripe, forged", options.rate, count, secret="whsec_other")
        columns = ("rate/s", "p50 ms", "p99 ms", "max ms", "web ms", "PG ms", "late ms")
        title = f"{count:,} deliveries of each kind, offered at {options.rate:g}/s (web, PG: CPU per delivery; late: of the client itself)"
        ground.show(title, columns, [*rows, forged])
        if any(row[3] > ANSWER_MILLISECONDS_MAX for row in rows[2:]):
            raise SystemExit(f"p99 is over {ANSWER_MILLISECONDS_MAX} ms")


def bare_inserts(count: int) -> list[Any]:
    """Commit rows one by one, with nothing around."""
    ground.execute("CREATE TABLE bench_notice (id bigserial PRIMARY KEY, event_id text UNIQUE, body jsonb)")
    ground.checkpoint()
    used = ground.postgresql()
    taken = sorted(milliseconds(count))
    cpu = used.spent() / count * 1000
    ground.execute("DROP TABLE bench_notice")
    figures = [ground.percentile(taken, share) for share in (0.5, 0.99)]
    return ["INSERT of one such row, committed (floor)", count / (sum(taken) / 1000), *figures, taken[-1], None, cpu]


def milliseconds(count: int) -> Iterator[float]:
    body = '{"lines": [' + ", ".join(f'"{"x" * 900}{number}"' for number in range(12)) + "]}"
    for number in range(count):
        began = perf_counter()
        ground.one(BARE, f"evt_{number}", body)
        yield (perf_counter() - began) * 1000


def deliveries(
    served: ground.Served, name: str, rate: float, count: int, *, empty: bool = False, times: int = 1, secret: str = ""
) -> list[Any]:
    """Offer deliveries at a rate; the notices that are stored afterwards are those that were signed, each once."""
    sender = ground.Sender(
        served,
        module="tests.bench.sending_notices",
        rate=rate,
        count=count,
        times=times,
        empty=empty,
        address=EMPTY if empty else "/webhooks/stripe",
        expected=302 if empty else 400 if secret else 200,
        secret=secret or settings.STRIPE_WEBHOOK_SECRET,
        series=uuid4().hex,
        connections=CONNECTIONS,
    )
    before = StripeNotice.objects.count()
    ground.checkpoint()
    postgresql, web = ground.postgresql(), served.processor()
    told = sender.send()
    used = [web.spent() / count * 1000, postgresql.spent() / count * 1000]
    assert StripeNotice.objects.count() - before == (0 if empty or secret else -(-count // times))
    taken = told["latencies"]
    figures = [ground.percentile(taken, share) for share in (0.5, 0.99)]
    return [name, count / told["seconds"], *figures, max(taken), *used, told["lateness"]]


if __name__ == "__main__":
    main()
