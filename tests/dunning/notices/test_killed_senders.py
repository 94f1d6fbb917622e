"""A worker dies by kill -9 at any statement while it sends: no customer is told twice, and no notice is lost."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from billing_site.kernel.clock import now
from dunning.core.notice_life import NoticeState
from dunning.notices.models import Notice
from dunning.notices.outbox import sweep_notices
from dunning.notices.queries import maybe_sent
from dunning.notices.sending import send_notice
from dunning.notices.template_operations import install_built_ins
from tests.dunning.notices.telling import an_open_invoice, planned
from tests.invoicing.payments.building import killed_at, run_queued_jobs

STEPS_MAX = 100


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_worker_killed_at_any_step_tells_nobody_twice_and_forgets_nobody(settings: Any, tmp_path: Path) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    settings.EMAIL_FILE_PATH = str(tmp_path)
    install_built_ins(at=now())
    killed = 0
    for step in range(1, STEPS_MAX):
        notice = planned(an_open_invoice(f"cust_{step}"), reference=f"case {step}", at=now())
        if not killed_at(step, lambda notice_id=notice.pk: send_notice(notice_id=notice_id, at=now())):
            break
        killed += 1
    assert killed >= 8, "the worker was hardly ever killed: the test kills nobody"

    states = set(Notice.objects.values_list("state", flat=True))
    assert states == {NoticeState.PLANNED.value, NoticeState.SENDING.value, NoticeState.SENT.value}
    sweep_notices(at=now() + timedelta(hours=1))
    run_queued_jobs()

    later = now() + timedelta(hours=1)
    in_doubt = list(maybe_sent(at=later))
    sent = Notice.objects.filter(state=NoticeState.SENT.value)
    assert len(in_doubt) + sent.count() == killed + 1
    mails = [file.read_text() for file in tmp_path.iterdir()]
    for notice in sent:
        assert sum(mail.count(f"Message-ID: {notice.message_id}") for mail in mails) == 1
    for notice in in_doubt:
        assert sum(mail.count(f"Message-ID: {notice.message_id}") for mail in mails) <= 1
