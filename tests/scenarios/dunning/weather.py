"""When the worker looks, when it is down, and when Stripe is: by chance, the same for everybody of a world."""

from bisect import bisect_right
from datetime import datetime, timedelta
from random import Random


class Weather:
    """The moments of a world of so many days."""

    def __init__(self, *, seed: int, begin: datetime, days: int, looks_a_day: int) -> None:
        chance = Random(f"{seed} weather")
        self.days = days
        self.looks = sorted(
            begin + timedelta(days=day, seconds=chance.randrange(86_400))
            for day in range(days)
            for _ in range(looks_a_day)
        )
        # Now and then the worker is down for some days, more often Stripe is for some hours.
        self.without_worker = self._times(chance, begin, days, every=60, hours=(6, 80))
        self.without_stripe = self._times(chance, begin, days, every=12, hours=(1, 14))

    def _times(
        self, chance: Random, begin: datetime, days: int, *, every: int, hours: tuple[int, int]
    ) -> list[tuple[datetime, datetime]]:
        found, at = [], begin + timedelta(days=chance.randrange(1, every))
        while at < begin + timedelta(days=days):
            until = at + timedelta(hours=chance.randrange(*hours))
            found.append((at, until))
            at = until + timedelta(days=chance.randrange(1, 2 * every))
        return found

    def is_without_worker(self, at: datetime) -> bool:
        return _is_within(self.without_worker, at)

    def is_without_stripe(self, at: datetime) -> bool:
        return _is_within(self.without_stripe, at)


def _is_within(times: list[tuple[datetime, datetime]], at: datetime) -> bool:
    place = bisect_right(times, (at, at)) - 1
    return any(since <= at < until for since, until in times[max(place, 0) : place + 2])
