"""`manage.py consume_events`: usage events from a Kafka topic."""

import argparse
import contextlib
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing_site.kernel.clock import now
from billing_site.kernel.errors import BillingError, InvalidInput
from metering.collecting.arguments import add_mapping_arguments, mapping_of_options
from metering.collecting.kafka import KafkaSource, consume_messages, open_consumer
from metering.collecting.stopping import StopFlag


class Command(BaseCommand):
    """Consume a topic."""

    help = (
        "Consume usage events from a Kafka topic. Offsets are committed after the database; messages that are no "
        "events become dead letters. Start as many as the topic has partitions. SIGTERM stops after the batch in "
        "hand. Needs the extra `kafka`: pip install -r requirements-kafka.txt"
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--brokers", required=True, metavar="HOST:PORT[,HOST:PORT...]")
        parser.add_argument("--topic", required=True)
        parser.add_argument("--group", required=True, help="the consumer group; it remembers how far reading is")
        add_mapping_arguments(parser)
        parser.add_argument(
            "--option",
            action="append",
            default=[],
            dest="options_given",
            metavar="NAME=VALUE",
            help="a setting of librdkafka, such as security.protocol=SASL_SSL",
        )
        parser.add_argument(
            "--options-file", type=Path, metavar="FILE", help="settings of librdkafka, NAME=VALUE a line: for secrets"
        )
        parser.add_argument(
            "--stop-when-idle", type=int, metavar="SECONDS", help="end when nothing came for so long (default: never)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Consume until told to stop; raises CommandError for arguments that make no sense."""
        try:
            mapping = mapping_of_options(options)
            source = KafkaSource(
                brokers=options["brokers"],
                topic=options["topic"],
                group=options["group"],
                options=_read_options(options["options_given"], options["options_file"]),
            )
            with contextlib.closing(open_consumer(source)) as consumer, StopFlag() as flag:
                progress = consume_messages(
                    consumer=consumer,
                    mapping=mapping,
                    clock=now,
                    flag=flag,
                    tell=self.stderr.write,
                    idle_seconds=options["stop_when_idle"],
                )
        except BillingError as error:
            raise CommandError(error.message) from None
        counts = progress.receipt
        self.stdout.write(f"accepted {counts.accepted}, duplicates {counts.duplicates}, rejected {progress.rejected}")


def _read_options(given: list[str], file: Path | None) -> dict[str, str]:
    """Return the settings of the file and, over them, those of the command line."""
    try:
        lines = file.read_text().splitlines() if file else []
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"--options-file {file}: {error}") from None
    settings: dict[str, str] = {}
    for line in [*lines, *given]:
        name, separator, value = line.strip().partition("=")
        if not name or name.startswith("#"):
            continue
        if not separator:
            # The value may be a secret, so it is not repeated.
            raise InvalidInput(f"{name.split()[0]}: write NAME=VALUE", field="option")
        settings[name.strip()] = value.strip()
    return settings
