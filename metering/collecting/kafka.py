"""Consume usage events from Kafka: at least once from the broker, exactly once into the books.

The events of a batch and its dead letters are committed to PostgreSQL in one transaction, and only then its offsets
to Kafka. Whatever dies in between is read again, has the same keys, and is a duplicate. A message is never skipped:
what cannot be read as an event is a dead letter with topic, partition and offset.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, Protocol

import msgspec
from django.db import InterfaceError, OperationalError, connection

from billing_site.kernel.errors import BillingError, InvalidInput, Malformed
from metering.collecting.dead_letters import DeadLetterBox, Origin
from metering.collecting.models import Collector, Shape
from metering.collecting.stopping import StopFlag
from metering.core.decoding import decode_json
from metering.core.mapping import RowMapping
from metering.core.parsing import Event
from metering.importing import Batch, Found, ImportProgress, find_events
from metering.reading import Row, read_line, read_object

try:
    import confluent_kafka
except ImportError:  # The extra is not installed; `open_consumer` says how to.
    confluent_kafka = None  # type: ignore[assignment]

BATCH_MESSAGES = 2_000
POLL_SECONDS = 1
RETRY_SECONDS = (1, 2, 5, 10, 30)
OURS = {
    "bootstrap.servers": "--brokers",
    "group.id": "--group",
    "enable.auto.commit": "nothing, because offsets are committed after the database",
}
_encoder = msgspec.json.Encoder(decimal_format="number")


class Consumer(Protocol):
    """What is used of confluent_kafka.Consumer."""

    def consume(self, num_messages: int = ..., timeout: float = ...) -> list[Any]:
        """Return messages, at most so many, after at most so many seconds."""

    def commit(self, *, offsets: list[Any], asynchronous: Literal[False]) -> Any:
        """Commit offsets."""

    def assignment(self) -> list[Any]:
        """Return the partitions that this consumer reads."""

    def close(self) -> None:
        """Leave the group."""


@dataclass(frozen=True)
class KafkaSource:
    """Where messages come from; `options` are further settings of librdkafka, such as those of TLS and SASL."""

    brokers: str
    topic: str
    group: str
    options: Mapping[str, str]


def open_consumer(source: KafkaSource) -> Consumer:
    """Join the group and subscribe to the topic; a new group begins with the oldest message. Raises InvalidInput."""
    if confluent_kafka is None:
        raise InvalidInput("this needs confluent-kafka; install it with: pip install -r requirements-kafka.txt")
    for name in OURS:
        if name in source.options:
            raise InvalidInput(f"{name} is set by {OURS[name]}", field="option")
    settings: dict[str, Any] = {
        "auto.offset.reset": "earliest",
        **source.options,
        "bootstrap.servers": source.brokers,
        "group.id": source.group,
        "enable.auto.commit": False,
    }
    try:
        consumer = confluent_kafka.Consumer(settings)
        consumer.subscribe([source.topic])
    except (confluent_kafka.KafkaException, TypeError, ValueError) as error:
        raise InvalidInput(f"Kafka's client refuses its settings: {error}", field="option") from None
    return consumer


def consume_messages(
    *,
    consumer: Consumer,
    mapping: RowMapping,
    clock: Callable[[], datetime],
    flag: StopFlag,
    tell: Callable[[str], None],
    idle_seconds: int | None = None,
) -> ImportProgress:
    """Consume until the flag is raised (or nothing came for so long), and return the counts.

    Where the database is away the batch in hand waits for it; told to stop meanwhile, it leaves the offsets as
    they are. Raises Malformed for an error of Kafka's client that does not pass.
    """
    progress = ImportProgress()
    idle_since = time.monotonic()
    while not flag.is_raised():
        messages = [
            message
            for message in consumer.consume(num_messages=BATCH_MESSAGES, timeout=POLL_SECONDS)
            if is_content(message, tell)
        ]
        if not messages:
            if not consumer.assignment():
                idle_since = time.monotonic()
            elif idle_seconds is not None and time.monotonic() - idle_since >= idle_seconds:
                break
            continue
        if not _take_patiently(messages, mapping, progress, clock=clock, flag=flag, tell=tell):
            break
        _commit_offsets(consumer, messages, tell)
        idle_since = time.monotonic()
    return progress


def take_messages(
    *, messages: Sequence[Any], mapping: RowMapping, progress: ImportProgress, received_at: datetime
) -> None:
    """Accept the events of messages and list what is none, in one transaction; `progress` counts them."""
    boxes = _Boxes(mapping)
    batch = Batch(boxes)
    refused = 0
    for message in messages:
        partition = f"{message.topic()}/{message.partition()}"
        for row, found in find_in_message(
            value=message.value(),
            offset=message.offset(),
            place=f"kafka-{partition}-{message.offset()}",
            mapping=mapping,
            received_at=received_at,
        ):
            if found.event is not None:
                batch.events.append(found.event)
                batch.numbers.append(row.number)
            else:
                boxes.box(partition).add(row=row, found=found)
                refused += 1
    batch.commit(progress)
    progress.rows += len(messages)
    progress.rejected += refused


def find_in_message(
    *, value: bytes | None, offset: int, place: str, mapping: RowMapping, received_at: datetime
) -> Iterator[tuple[Row, Found]]:
    """Read a message: one event, or an array of them (CloudEvents' batch); each is an event or a refusal."""
    part = 0
    for index, row in enumerate(_rows_of(value, offset, mapping)):
        for found in find_events(
            row=row,
            mapping=mapping,
            is_object=True,
            place=f"{place}.{index}" if index else place,
            received_at=received_at,
        ):
            yield row, replace(found, part=part)
            part += 1


def is_content(message: Any, tell: Callable[[str], None]) -> bool:
    """Say that a message is one, and not news of Kafka's client; raises Malformed for news that it cannot go on."""
    error = message.error()
    if error is None:
        return True
    if error.fatal():
        raise Malformed(f"Kafka: {error.str()}")
    if error.code() != confluent_kafka.KafkaError._PARTITION_EOF:
        tell(f"Kafka: {error.str()}")
    return False


def _rows_of(value: bytes | None, offset: int, mapping: RowMapping) -> list[Row]:
    if value is None or not value.strip():
        return [Row(offset, None, InvalidInput("the message has no value", code="no_value"), value or b"")]
    if mapping.preset is not None and mapping.preset.is_lines:
        return [read_line(offset, value.strip())]
    if not value.lstrip().startswith(b"["):
        return [read_object(offset, value)]
    try:
        elements = decode_json(value)
    except BillingError as error:
        return [Row(offset, None, error, value)]
    return [read_object(offset, _encoder.encode(element)) for element in elements]


def _take_patiently(
    messages: Sequence[Any],
    mapping: RowMapping,
    progress: ImportProgress,
    *,
    clock: Callable[[], datetime],
    flag: StopFlag,
    tell: Callable[[str], None],
) -> bool:
    """Take the messages as soon as the database is there; False if the flag was raised before."""
    attempt = 0
    while True:
        try:
            take_messages(messages=messages, mapping=mapping, progress=progress, received_at=clock())
            return True
        except (OperationalError, InterfaceError) as error:
            seconds = RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)]
            tell(f"the database is away, trying again in {seconds} s: {str(error).splitlines()[0]}")
            connection.close()
            attempt += 1
            if flag.wait(seconds):
                return False


def _commit_offsets(consumer: Consumer, messages: Sequence[Any], tell: Callable[[str], None]) -> None:
    """Commit what follows the last message of each partition."""
    following: dict[tuple[str, int], int] = {}
    for message in messages:
        following[message.topic(), message.partition()] = message.offset() + 1
    offsets = [
        confluent_kafka.TopicPartition(topic, partition, offset) for (topic, partition), offset in following.items()
    ]
    try:
        consumer.commit(offsets=offsets, asynchronous=False)
    except confluent_kafka.KafkaException as error:
        # The partitions may belong to another member by now. It reads the messages again, as duplicates.
        tell(f"offsets are not committed, the messages will come again as duplicates: {error}")


class _Boxes:
    """The dead letters of a batch, a box per partition."""

    is_full = False

    def __init__(self, mapping: RowMapping) -> None:
        self._mapping = mapping
        self._boxes: dict[str, DeadLetterBox] = {}

    def box(self, partition: str) -> DeadLetterBox:
        """Return the box of TOPIC/PARTITION."""
        if partition not in self._boxes:
            is_lines = self._mapping.preset is not None and self._mapping.preset.is_lines
            shape = Shape.LINE if is_lines else Shape.OBJECT
            self._boxes[partition] = DeadLetterBox(Origin(Collector.KAFKA, partition, self._mapping, lambda row: shape))
        return self._boxes[partition]

    def add(self, *, row: Row, found: Found) -> None:
        """Refuse: a message goes into the box of its partition."""
        raise AssertionError("a refused message is added to the box of its partition")

    def add_conflict(self, *, number: int, event: Event, error: BillingError) -> None:
        """Leave it to the list of conflicts."""

    def save(self) -> None:
        """List what was refused."""
        for partition in sorted(self._boxes):
            self._boxes[partition].save()
