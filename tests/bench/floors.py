"""Raw COPY in the same run: the floor under every ingest figure, and what each part of the table adds to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from time import perf_counter

from metering.core.parsing import Event, parse_event
from metering.ingest import _COPY, _line, dedup_key
from tests.bench import ground
from tests.bench.documents import documents

BATCH = 1000
TABLE = "bench_floor"
_INTO_FLOOR = _COPY.replace("metering_usageevent", TABLE)

BARE: tuple[str, ...] = ()
CHECKS = (f"ALTER TABLE {TABLE} ADD CHECK (quantity >= 0), ADD CHECK (quantity < 100000000000000000000000000)",)
NUMBER = f"ALTER TABLE {TABLE} ADD UNIQUE (id)"
KEY = f"ALTER TABLE {TABLE} ADD UNIQUE (dedup_key)"
CUSTOMER = f"CREATE INDEX ON {TABLE} (customer_id, event_type, timestamp)"
RECEIPT = f"CREATE INDEX ON {TABLE} USING brin (received_at)"
SAME_INDEXES = (*CHECKS, NUMBER, KEY, CUSTOMER, RECEIPT)
_TRIGGERS = """
    SELECT pg_get_triggerdef(oid) FROM pg_trigger
    WHERE tgrelid = 'metering_usageevent'::regclass AND NOT tgisinternal AND tgtype & 4 = 4
"""


@dataclass(frozen=True)
class Cost:
    """What storing took: rows a second by the clock, and microseconds of PostgreSQL's CPU a row."""

    rate: float
    microseconds: float


def events(*, series: str, count: int) -> list[Event]:
    """Return events as they come out of validation."""
    at = datetime.now(UTC)
    step = timedelta(milliseconds=1)
    return [
        parse_event(document=document, received_at=at)
        for document in documents(series=series, count=count, start=at - count * step, step=step)
    ]


def lines(*, found: Sequence[Event], in_key_order: bool = False) -> list[str]:
    """Return events as lines of COPY; a batch of the product is in the order of keys."""
    made = [
        _line(dedup_key(customer_id=event.customer_id, idempotency_key=event.idempotency_key), event) for event in found
    ]
    if in_key_order:
        return [line for begin in range(0, len(made), BATCH) for line in sorted(made[begin : begin + BATCH])]
    return made


def cost_of(act: Callable[[], None], *, rows: int) -> Cost:
    """Measure one action that stores so many rows; starts after a checkpoint."""
    ground.checkpoint()
    used, began = ground.postgresql(), perf_counter()
    act()
    seconds = perf_counter() - began
    return Cost(rate=rows / seconds, microseconds=used.spent() / rows * 1e6)


def middle(costs: Sequence[Cost]) -> Cost:
    """Return the medians."""
    return Cost(rate=median(cost.rate for cost in costs), microseconds=median(cost.microseconds for cost in costs))


def copy(statement: str, rows: Sequence[str], *, batch: int) -> None:
    """Store lines, `batch` of them in each transaction."""
    with ground.connection.cursor() as cursor:
        for begin in range(0, len(rows), batch):
            with cursor.copy(statement) as into:
                into.write("".join(rows[begin : begin + batch]))


def floor(rows: Sequence[str], *, parts: Sequence[str], batch: int = BATCH, durable: bool = True) -> Cost:
    """Store lines in a table with the product's columns and some of its parts."""
    ground.execute(f"CREATE TABLE {TABLE} (LIKE metering_usageevent INCLUDING DEFAULTS INCLUDING IDENTITY)")
    try:
        for part in parts:
            ground.execute(part)
        ground.execute("SELECT set_config('synchronous_commit', %s, false)", "on" if durable else "off")
        return cost_of(lambda: copy(_INTO_FLOOR, rows, batch=batch), rows=len(rows))
    finally:
        ground.execute("RESET synchronous_commit")
        ground.execute(f"DROP TABLE {TABLE}")


def full_floor(rows: Sequence[str]) -> Cost:
    """Store lines in one transaction in a table with the same columns and indexes that holds all that is stored."""
    ground.execute(f"CREATE TABLE {TABLE} (LIKE metering_usageevent INCLUDING DEFAULTS INCLUDING IDENTITY)")
    try:
        ground.execute(f"INSERT INTO {TABLE} SELECT * FROM metering_usageevent")
        for part in SAME_INDEXES:
            ground.execute(part)
        ground.execute(f"SELECT setval(pg_get_serial_sequence('{TABLE}', 'id'), max(id)) FROM {TABLE}")
        ground.execute(f"VACUUM (ANALYZE) {TABLE}")
        return cost_of(lambda: copy(_INTO_FLOOR, rows, batch=len(rows)), rows=len(rows))
    finally:
        ground.execute(f"DROP TABLE {TABLE}")


def insert_triggers() -> tuple[str, ...]:
    """Return the statements that give the floor the product's triggers of inserts."""
    with ground.connection.cursor() as cursor:
        cursor.execute(_TRIGGERS)
        return tuple(row[0].replace("public.metering_usageevent", TABLE) for row in cursor.fetchall())


def into_product(rows: Sequence[str]) -> Cost:
    """Store lines in the product's own table: months, triggers and all."""
    return cost_of(lambda: copy(_COPY, rows, batch=BATCH), rows=len(rows))


def measure_floors(*, count: int, repeats: int) -> dict[str, Cost]:
    """Measure all variants, one after another and again, so that other load meets them all; returns medians."""
    taken: dict[str, list[Cost]] = {}
    for _ in range(repeats):
        series = f"floor{ground.stored()}"
        found = events(series=series, count=count)
        rows = lines(found=found)
        variants: dict[str, Callable[[], Cost]] = {
            "bare table": lambda rows=rows: floor(rows, parts=BARE),
            "bare table, one transaction": lambda rows=rows: floor(rows, parts=BARE, batch=count),
            "+ CHECKs": lambda rows=rows: floor(rows, parts=CHECKS),
            "+ unique number": lambda rows=rows: floor(rows, parts=(*CHECKS, NUMBER)),
            "+ unique key": lambda rows=rows: floor(rows, parts=(*CHECKS, NUMBER, KEY)),
            "+ index by customer": lambda rows=rows: floor(rows, parts=(*CHECKS, NUMBER, KEY, CUSTOMER)),
            "same indexes": lambda rows=rows: floor(rows, parts=SAME_INDEXES),
            "+ triggers": lambda rows=rows: floor(rows, parts=(*SAME_INDEXES, *insert_triggers())),
            "same indexes, one transaction": lambda rows=rows: floor(rows, parts=SAME_INDEXES, batch=count),
            "same indexes, commit not awaited": lambda rows=rows: floor(rows, parts=SAME_INDEXES, durable=False),
            "product's table": lambda found=found: into_product(lines(found=found, in_key_order=True)),
        }
        for name, measure in variants.items():
            taken.setdefault(name, []).append(measure())
    return {name: middle(costs) for name, costs in taken.items()}
