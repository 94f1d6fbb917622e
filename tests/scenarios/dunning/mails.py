"""A mail server of the world: takes most, refuses some for now, some for good, and keeps what it was handed at which place of the world."""

from collections.abc import Sequence
from random import Random
from smtplib import SMTPRecipientsRefused, SMTPResponseException
from typing import Any

from django.core.mail.backends.base import BaseEmailBackend

BOUNCING = "bounces"


class Post:
    """What was handed over: by notice, at which place of the world, and whether it was taken."""

    def __init__(self, seed: int) -> None:
        self.seed, self.number = seed, 0
        self.handed: list[tuple[int, int, bool]] = []
        self.tries: dict[str, int] = {}


post = Post(0)


class Backend(BaseEmailBackend):
    """Django's mail backend of the world."""

    def send_messages(self, email_messages: Sequence[Any]) -> int:
        for message in email_messages:
            name = message.extra_headers["Message-ID"]
            tries = post.tries[name] = post.tries.get(name, 0) + 1
            refuses = BOUNCING in message.to[0]
            is_busy = Random(f"{post.seed} {message.to[0]} {message.subject} {tries}").random() < 0.04
            post.handed.append((int(message.metadata["notice"]), post.number, not refuses and not is_busy))
            if refuses:
                raise SMTPRecipientsRefused({message.to[0]: (550, b"no such mailbox")})
            if is_busy:
                raise SMTPResponseException(451, b"try again later")
        return len(email_messages)
