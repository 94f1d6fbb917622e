"""Work through events in steps of bounded size."""

from django.db import connection


def end_of_step(*, cursor: int, mark: int, batch: int) -> int:
    """Return the number that ends a step of at most `batch` events from `cursor` on, `mark` at most.

    Numbers that no event has cost nothing: refused requests and repetitions use many up.
    """
    assert cursor < mark, "a step must go forward"
    assert batch > 0, "a step must go forward"
    with connection.cursor() as database:
        database.execute(
            "SELECT id FROM metering_usageevent WHERE id > %s AND id <= %s ORDER BY id OFFSET %s LIMIT 1",
            [cursor, mark, batch - 1],
        )
        found = database.fetchone()
    return int(found[0]) if found else mark
