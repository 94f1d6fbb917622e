"""Background jobs of the machine face."""

from datetime import timedelta

from billing_site.api.idempotency import forget_answers
from billing_site.kernel.clock import now
from billing_site.kernel.jobs import RegularJob

ANSWERS_KEPT = timedelta(days=7)

REGULAR_JOBS = (
    RegularJob(name="Forget idempotent answers", task="billing_site.api.tasks.forget_old_answers", cron="40 3 * * *"),
)


def forget_old_answers() -> str:
    """Delete the answers that nobody will ask for again."""
    return f"{forget_answers(before=now() - ANSWERS_KEPT)} answers"
