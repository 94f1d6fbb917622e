"""Random moments and spans of time, often at an odd hour."""

from datetime import datetime, timedelta
from random import Random


def later(dice: Random, at: datetime, cadence: str, end: datetime) -> datetime | None:
    """A moment after this one and before the end; often at an odd hour of the day, or on the same day."""
    days = {"week": 9, "month": 40, "quarter": 70, "year": 200}[cadence]
    moment = at + timedelta(
        days=dice.randint(0, days), seconds=dice.choice((1, 3600, 43200, 86400, dice.randint(1, 86399)))
    )
    if dice.random() < 0.2:
        moment = moment.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return moment if moment < end else None


def span(dice: Random, cadence: str) -> timedelta:
    """Some periods of a cadence, and more."""
    days = {"week": 21, "month": 100, "quarter": 200, "year": 400}[cadence]
    return timedelta(days=dice.randint(0, days), seconds=dice.choice((1, 3600, dice.randint(1, 86399))))
