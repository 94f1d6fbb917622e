"""The usage of the demo's customers: drawn from seeded dice, so that the same time gives the same events for ever."""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from billing_site.demo.company import CUSTOMERS, DemoCustomer
from billing_site.demo.months import Leg

HOUR = timedelta(hours=1)
SEED = "the demo company"
# What share of the day's events falls in which hour of local time, and how much a weekday does (Monday first).
OFFICE_HOURS = (1, 1, 1, 1, 1, 2, 4, 9, 16, 20, 21, 19, 14, 18, 21, 20, 17, 12, 8, 6, 5, 4, 3, 2)
ALL_DAY = (6, 5, 4, 4, 4, 5, 6, 8, 10, 11, 11, 11, 11, 11, 11, 11, 11, 11, 12, 13, 13, 12, 10, 8)
WORKING_WEEK = (1.0, 1.08, 1.1, 1.05, 0.92, 0.28, 0.22)
WHOLE_WEEK = (0.9, 0.9, 0.95, 1.0, 1.1, 1.2, 1.1)
# Business grows: the first day has this share of the last day's events.
FIRST_DAY_SHARE = 0.72
LATE_SHARE = 0.012
LATE_SECONDS_MAX = 60 * 3600
TWICE_SHARE = 0.01
MODELS = ("atlas-large", "atlas-small", "atlas-vision", "meridian-70b", "meridian-8b")
REGIONS = ("eu-central", "us-east", "us-west", "ap-northeast")

Measure = Callable[[random.Random, int], str]


@dataclass(frozen=True)
class Habit:
    """How the customers of a plan use the platform: which events, when, and how much each carries.

    `weight` is the part of the customer's events; `measure` returns quantity and properties as JSON members.
    """

    event_type: str
    weight: float
    hours: tuple[int, ...]
    week: tuple[float, ...]
    measure: Measure


def _tokens(dice: random.Random, size: int) -> str:
    spread = dice.random()
    prompt = int((180 + 5200 * spread * spread * spread) * size)
    answer = int((60 + 900 * dice.random() * spread) * size)
    model = MODELS[int(dice.random() * len(MODELS))]
    return f'"quantity":"1","properties":{{"model":"{model}","input_tokens":{prompt},"output_tokens":{answer}}}'


def _whole(dice: random.Random, size: int) -> str:
    region = REGIONS[int(dice.random() * len(REGIONS))]
    return f'"quantity":"{1 + int(size * (0.3 + 1.4 * dice.random()))}","properties":{{"region":"{region}"}}'


def _seconds(dice: random.Random, size: int) -> str:
    return f'"quantity":"{int(size * 40 * dice.random()) + 1}.{int(dice.random() * 1000):03d}"'


def _images(dice: random.Random, size: int) -> str:
    return f'"quantity":"{1 + int(size * 4 * dice.random() * dice.random())}"'


def _sale(dice: random.Random, size: int) -> str:
    return f'"quantity":"{4 + int(size * 60 * dice.random() * dice.random())}.{(0, 49, 90, 99)[int(dice.random() * 4)]:02d}"'


SEARCH = (Habit("search.answered", 1.0, OFFICE_HOURS, WORKING_WEEK, _whole),)
INFERENCE = (Habit("inference.completed", 1.0, ALL_DAY, WORKING_WEEK, _tokens),)
WORKFLOWS = (Habit("workflow.completed", 1.0, OFFICE_HOURS, WORKING_WEEK, _whole),)
STUDIO = (
    Habit("image.generated", 0.75, ALL_DAY, WHOLE_WEEK, _images),
    Habit("gpu.released", 0.25, ALL_DAY, WHOLE_WEEK, _seconds),
)
SALES = (Habit("agent.sold", 1.0, ALL_DAY, WHOLE_WEEK, _sale),)
HABITS: Mapping[str, tuple[Habit, ...]] = {
    "search": SEARCH,
    "inference": INFERENCE,
    "workflow": WORKFLOWS,
    "studio": STUDIO,
    "agent": SALES,
}


def usage_of(*, leg: Leg, first_day: datetime, created_at: datetime) -> list[bytes]:
    """Return the events of a leg as JSON lines in the order in which they are sent, repetitions included."""
    queue: list[tuple[float, bytes]] = []
    for customer in CUSTOMERS:
        queue.extend(_customer_usage(customer, leg=leg, first_day=first_day, created_at=created_at))
    if not leg.is_billed:
        queue.extend(_strangers(leg))
    queue.sort()
    return [line for _moment, line in queue]


def _customer_usage(
    customer: DemoCustomer, *, leg: Leg, first_day: datetime, created_at: datetime
) -> Iterator[tuple[float, bytes]]:
    start = max(leg.start, customer.started_at(first_day=first_day))
    end = min(leg.end, customer.ended_at(first_day=first_day) or leg.end)
    if start >= end:
        return
    zone = ZoneInfo(customer.timezone)
    for habit in HABITS[customer.plan.partition("-")[0]]:
        dice = random.Random(f"{SEED}/{customer.key}/{habit.event_type}/{leg.start.isoformat()}")  # noqa: S311
        per_day = customer.events_per_day * habit.weight / sum(habit.hours)
        hour = start.replace(minute=0, second=0, microsecond=0)
        while hour < end:
            local = hour.astimezone(zone)
            grown = FIRST_DAY_SHARE + (1 - FIRST_DAY_SHARE) * ((hour - first_day) / (created_at - first_day))
            expected = per_day * habit.hours[local.hour] * habit.week[local.weekday()] * grown
            count = int(expected + dice.random())
            if count:
                yield from _hour_of_events(customer, habit, dice, hour=hour, count=count, span=(start, end))
            hour += HOUR


def _hour_of_events(
    customer: DemoCustomer,
    habit: Habit,
    dice: random.Random,
    *,
    hour: datetime,
    count: int,
    span: tuple[datetime, datetime],
) -> Iterator[tuple[float, bytes]]:
    began = hour.timestamp()
    earliest, latest = (moment.timestamp() - began for moment in span)
    written_hour = hour.strftime("%Y-%m-%dT%H:")
    mark = f"{customer.slug}-{hour:%Y%m%d%H}-{habit.event_type.partition('.')[0]}"
    for number in range(count):
        second = int(dice.random() * 3_600_000) / 1000
        members = habit.measure(dice, customer.size)
        luck = dice.random()
        if not earliest <= second < latest:
            continue
        minutes, rest = divmod(second, 60)
        line = (
            f'{{"event_id":"evt-{mark}-{number}","idempotency_key":"{mark}-{number}","event_type":"{habit.event_type}",'
            f'"timestamp":"{written_hour}{int(minutes):02d}:{rest:06.3f}Z","customer_id":"{customer.key}",{members}}}'
        ).encode()
        sent = began + second
        if luck < LATE_SHARE:
            sent += LATE_SECONDS_MAX * luck / LATE_SHARE
        yield sent, line
        if luck > 1 - TWICE_SHARE:
            # The sender saw no answer and sent it again, minutes later.
            yield sent + 600, line


def _strangers(leg: Leg) -> Iterator[tuple[float, bytes]]:
    """Yield what nobody ordered: a customer whom we do not know, a kind of event that no meter counts."""
    began = leg.start.timestamp()
    for number in range(9):
        moment = leg.start + (leg.end - leg.start) * (number + 1) / 12
        written = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        yield (
            began + number,
            f'{{"event_id":"evt-trial-{number}","idempotency_key":"trial-{number}","event_type":"inference.completed",'
            f'"timestamp":"{written}","customer_id":"cust_unknown_trial","quantity":"1",'
            f'"properties":{{"model":"atlas-small","input_tokens":900,"output_tokens":210}}}}'.encode(),
        )
        yield (
            began + number,
            f'{{"event_id":"evt-audio-{number}","idempotency_key":"audio-{number}","event_type":"audio.transcribed",'
            f'"timestamp":"{written}","customer_id":"cust_parlance","quantity":"{30 + number}"}}'.encode(),
        )
