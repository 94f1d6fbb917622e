"""A card is charged again when that makes sense, by why the bank refused it."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from dunning.core.retries import Refusal, next_try

NEW_YORK = ZoneInfo("America/New_York")
# A Friday evening in New York, Saturday in UTC.
REFUSED = datetime(2026, 8, 15, 1, tzinfo=UTC)


@pytest.mark.requirement("S1-005")
@pytest.mark.parametrize(
    ("code", "number", "expected"),
    [
        ("stolen_card", 1, None),
        ("lost_card", 1, None),
        ("fraudulent", 1, None),
        ("expired_card", 1, None),
        ("authentication_required", 1, None),
        ("insufficient_funds", 1, "2026-08-15 10:00"),
        ("processing_error", 1, "2026-08-14 22:00"),
        ("processing_error", 2, "2026-08-15 03:00"),
        ("processing_error", 9, "2026-08-17 21:00"),
        ("card_declined", 1, "2026-08-17 10:00"),
        ("do_not_honor", 2, "2026-08-18 10:00"),
        ("a code of tomorrow", 4, "2026-08-21 10:00"),
    ],
)
def test_the_reason_of_the_bank_decides_when_it_is_tried_again(code: str, number: int, expected: str | None) -> None:
    tried = next_try(refusal=Refusal(code, REFUSED, number), zone=NEW_YORK)

    assert (tried and tried.astimezone(NEW_YORK).strftime("%Y-%m-%d %H:%M")) == expected


def test_the_payday_after_a_payday_is_the_next_one() -> None:
    first = datetime(2026, 9, 1, 15, tzinfo=UTC)

    tried = next_try(refusal=Refusal("insufficient_funds", first, 1), zone=NEW_YORK)

    assert tried == datetime(2026, 9, 15, 14, tzinfo=UTC)
