"""A topic is consumed: every event once whatever dies when, every message that is none a dead letter.

The broker is librdkafka's mock cluster in this process: real sockets, real consumer groups, no Kafka.
"""

import json
import signal
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from django.core.management import CommandError, call_command
from django.db import connection

from billing_site.kernel.clock import now
from metering.collecting.kafka import KafkaSource, consume_messages, find_in_message, open_consumer
from metering.collecting.models import DeadLetter
from metering.collecting.stopping import StopFlag
from metering.core.mapping import read_mapping
from metering.core.presets import PRESETS
from metering.models import UsageEvent
from tests.factories import JULY
from tests.metering.collecting.conftest import ROOT, Start

TOPIC = "usage"
QUICK = {"session.timeout.ms": "3000", "heartbeat.interval.ms": "500"}
PLAIN = read_mapping(rules=(), zone=None)


class Cluster:
    """One mock broker, and a producer to it."""

    def __init__(self) -> None:
        self.producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        brokers = self.producer.list_topics(timeout=10).brokers.values()
        self.brokers = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)

    def send(self, *values: bytes | None, partition: int = 0) -> None:
        for value in values:
            self.producer.produce(TOPIC, value=value, partition=partition)
        assert self.producer.flush(10) == 0

    def arguments(self, *more: str) -> list[str]:
        """The arguments of `consume_events` on this cluster."""
        return [
            *("consume_events", "--brokers", self.brokers, "--topic", TOPIC, "--group", "billing"),
            *(f"--option={name}={value}" for name, value in QUICK.items()),
            *more,
        ]

    def committed(self, partition: int = 0) -> int:
        consumer = Consumer({"bootstrap.servers": self.brokers, "group.id": "billing", "log_level": 0})
        try:
            return consumer.committed([TopicPartition(TOPIC, partition)], timeout=10)[0].offset
        finally:
            consumer.close()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    yield Cluster()


def an_event(number: int, **members: Any) -> bytes:
    document = {
        "event_id": f"e{number}",
        "idempotency_key": f"k{number}",
        "event_type": "t",
        "timestamp": "2026-07-01T00:00:00Z",
        "customer_id": "cust_acme",
        "quantity": "1.5",
    }
    return json.dumps({name: value for name, value in {**document, **members}.items() if value is not None}).encode()


def consumed(cluster: Cluster, *more: str) -> str:
    """Consume until nothing comes for some seconds; returns what the command says."""
    lines: list[str] = []

    class Output:
        def write(self, text: str) -> None:
            lines.append(text)

    call_command(*cluster.arguments("--stop-when-idle", "4", *more), stdout=Output())
    return "".join(lines)


@pytest.mark.django_db(transaction=True)
def test_events_are_accepted_and_messages_that_are_none_are_listed_and_stop_nothing(cluster: Cluster) -> None:
    poison = [b"not json", None, b"", b"5", an_event(2, quantity="much"), an_event(3, surplus=1), b"\xff\x00", b"[1]"]
    cluster.send(an_event(0), *poison, an_event(1))
    cluster.send(an_event(4), an_event(0), partition=1)

    assert consumed(cluster) == "accepted 3, duplicates 1, rejected 8\n"

    assert sorted(UsageEvent.objects.values_list("event_id", flat=True)) == ["e0", "e1", "e4"]
    letters = DeadLetter.objects.order_by("position")
    assert [(one.source, one.position, one.field, one.code) for one in letters] == [
        ("usage/0", 1, "", "malformed"),
        ("usage/0", 2, "", "no_value"),
        ("usage/0", 3, "", "no_value"),
        ("usage/0", 4, "", "malformed"),
        ("usage/0", 5, "quantity", "not_a_number"),
        ("usage/0", 6, "surplus", "unknown_field"),
        ("usage/0", 7, "", "malformed"),
        ("usage/0", 8, "", "malformed"),
    ]
    assert [bytes(one.raw) for one in letters] == [value or b"" for value in poison[:-1]] + [b"1"]
    assert (cluster.committed(0), cluster.committed(1)) == (10, 2)


@pytest.mark.django_db(transaction=True)
@pytest.mark.requirement("S4-044")
@pytest.mark.requirement("S4-050")
@pytest.mark.parametrize(("moment", "rows_after_death"), [("before_database", 0), ("after_database", 3_000)])
def test_killed_around_the_commit_of_the_database_each_event_is_accepted_once(
    cluster: Cluster, start: Start, manage: Start, moment: str, rows_after_death: int
) -> None:
    for partition in (0, 1):
        cluster.send(b"poison", *(an_event(2 * n + partition) for n in range(1_500)), partition=partition)

    dying = start("-m", "tests.metering.collecting.dying_consumer", moment, *cluster.arguments())
    assert dying.wait(timeout=60) == -signal.SIGKILL
    stored = UsageEvent.objects.count()
    assert (stored > 0) == (rows_after_death > 0)
    assert cluster.committed(0) == cluster.committed(1) == -1001

    said, errors = manage(*cluster.arguments("--stop-when-idle", "4")).communicate(timeout=60)

    assert said == f"accepted {3_000 - stored}, duplicates {stored}, rejected 2\n", errors
    assert UsageEvent.objects.count() == 3_000
    assert sorted(DeadLetter.objects.values_list("source", "position")) == [("usage/0", 0), ("usage/1", 0)]
    assert (cluster.committed(0), cluster.committed(1)) == (1_501, 1_501)


@pytest.mark.django_db(transaction=True)
def test_sigterm_ends_it_with_its_counts_and_what_came_later_is_consumed_later(cluster: Cluster, manage: Start) -> None:
    cluster.send(an_event(0))
    consumer = manage(*cluster.arguments())
    while not UsageEvent.objects.exists():
        time.sleep(0.05)

    consumer.send_signal(signal.SIGTERM)
    said, errors = consumer.communicate(timeout=30)
    cluster.send(an_event(1))

    assert (consumer.returncode, said) == (0, "accepted 1, duplicates 0, rejected 0\n"), errors
    assert consumed(cluster) == "accepted 1, duplicates 0, rejected 0\n"


@pytest.mark.django_db
def test_a_batch_of_cloud_events_is_its_events_and_each_wrong_one_a_letter_of_its_own() -> None:
    event = {
        "specversion": "1.0",
        "id": "1",
        "source": "s",
        "type": "t",
        "subject": "c",
        "time": "2026-07-01T00:00:00Z",
    }
    mapping = read_mapping(rules=(), zone=None, preset=PRESETS["cloudevents"])
    value = json.dumps([event, {**event, "id": ""}, {**event, "id": "3"}]).encode()

    found = [one for _, one in find_in_message(value=value, offset=7, place="p", mapping=mapping, received_at=JULY)]

    assert [(one.part, one.event.event_id if one.event else one.error.field) for one in found] == [
        (0, "1"),
        (1, "id"),
        (2, "3"),
    ]
    assert json.loads(found[1].raw)["id"] == ""


def test_an_event_without_a_key_is_known_by_its_offset() -> None:
    value = an_event(0, idempotency_key=None, event_id=None)

    keys = [
        one.event.idempotency_key
        for offset in (7, 7, 8)
        for _, one in find_in_message(
            value=value, offset=offset, place=f"kafka-usage/0-{offset}", mapping=PLAIN, received_at=JULY
        )
        if one.event
    ]

    assert keys[0] == keys[1] != keys[2]
    assert keys[0].startswith("kafka-usage/0-7-")


@pytest.mark.django_db(transaction=True)
def test_while_the_database_is_away_the_batch_waits_and_no_offset_is_committed(cluster: Cluster) -> None:
    cluster.send(an_event(0))
    flag, told = StopFlag(), []

    def cut(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.startswith("SAVEPOINT"):
            execute("SELECT pg_terminate_backend(pg_backend_pid())", None, False, context)
        return execute(sql, params, many, context)

    def tell(text: str) -> None:
        told.append(text)
        flag.raise_it()

    source = KafkaSource(brokers=cluster.brokers, topic=TOPIC, group="billing", options=QUICK)
    with closing(open_consumer(source)) as consumer, connection.execute_wrapper(cut):
        consume_messages(consumer=consumer, mapping=PLAIN, clock=now, flag=flag, tell=tell)

    assert "the database is away, trying again in 1 s" in told[0]
    assert cluster.committed() == -1001
    assert consumed(cluster) == "accepted 1, duplicates 0, rejected 0\n"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--option", "enable.auto.commit=true"], "enable.auto.commit is set by nothing"),
        (["--option", "no.such.setting=1"], "No such configuration property"),
        (["--option", "sasl.password"], "write NAME=VALUE"),
        (["--options-file", "/nowhere"], "No such file"),
    ],
)
def test_settings_that_make_no_sense_are_told(more: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        call_command("consume_events", "--brokers", "127.0.0.1:1", "--topic", "t", "--group", "g", *more)


def test_settings_come_from_a_file_and_secrets_are_not_repeated(tmp_path: Path) -> None:
    file = tmp_path / "kafka.properties"
    file.write_text("# ours\n\nsasl.password secret\n")

    with pytest.raises(CommandError) as refusal:
        call_command(
            *("consume_events", "--brokers", "127.0.0.1:1", "--topic", "t", "--group", "g"), "--options-file", str(file)
        )

    assert "secret" not in str(refusal.value)


@pytest.mark.django_db(transaction=True)
def test_without_the_extra_the_command_says_how_to_install_it(start: Start) -> None:
    assert "confluent_kafka" in sys.modules
    without = start(
        "-c",
        "import sys; sys.modules['confluent_kafka'] = None; sys.argv[0] = 'manage.py'; import manage; manage.main()",
        *("consume_events", "--brokers", "127.0.0.1:1", "--topic", "t", "--group", "g"),
    )

    _, errors = without.communicate(timeout=60)

    assert (without.returncode, "Traceback" in errors) == (1, False)
    assert "pip install -r requirements-kafka.txt" in errors


def test_the_extra_installs_what_is_tested() -> None:
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["kafka"]
    pinned = [line for line in (ROOT / "requirements-kafka.txt").read_text().splitlines() if not line.startswith("#")]

    assert extra == pinned == [f"confluent-kafka=={version('confluent-kafka')}"]


@pytest.mark.django_db(transaction=True)
def test_of_two_consumers_one_dies_and_the_other_takes_over_what_it_left(cluster: Cluster, manage: Start) -> None:
    first, second = (manage(*cluster.arguments("--stop-when-idle", "8")) for _ in range(2))
    numbers = iter(range(4_000))
    for _ in range(10):
        for partition in range(4):
            cluster.send(*(an_event(next(numbers)) for _ in range(50)), partition=partition)
    while not UsageEvent.objects.exists():
        time.sleep(0.05)
    first.kill()
    for _ in range(10):
        for partition in range(4):
            cluster.send(*(an_event(next(numbers)) for _ in range(50)), partition=partition)

    _, errors = second.communicate(timeout=90)

    assert second.returncode == 0, errors
    assert UsageEvent.objects.count() == 4_000
    assert [cluster.committed(partition) for partition in range(4)] == [1_000] * 4
