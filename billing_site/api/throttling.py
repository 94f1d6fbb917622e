"""How many requests a key may send: a token bucket per key and process."""

import re
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

SECONDS = {"s": 1, "min": 60, "h": 3600}


@dataclass
class Buckets:
    """The tokens that each key has left; a bucket fills evenly up to the requests of one interval."""

    _left: dict[int, tuple[float, float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_seconds(self, *, key: int, requests: int, seconds: int, moment: float) -> float:
        """Take a token and return 0, or return after how many seconds there will be one."""
        per_second = requests / seconds
        with self._lock:
            left, then = self._left.get(key, (float(requests), moment))
            left = min(float(requests), left + (moment - then) * per_second)
            taken = left >= 1
            self._left[key] = (left - 1 if taken else left, moment)
        return 0.0 if taken else (1 - left) / per_second


class KeyRate(BaseThrottle):
    """Refuse with 429 and Retry-After what exceeds settings.API_RATE_LIMIT, `1000/s`; empty: no limit."""

    buckets = Buckets()
    _wait: float = 0.0

    def allow_request(self, request: Request, view: Any) -> bool:
        """Say whether the key of this request has a token left."""
        limit = rate_limit(text=settings.API_RATE_LIMIT)
        if limit is None or request.auth is None:
            return True
        requests, seconds = limit
        self._wait = self.buckets.wait_seconds(
            key=request.auth.pk, requests=requests, seconds=seconds, moment=time.monotonic()
        )
        return self._wait == 0

    def wait(self) -> float:
        """Return the seconds for Retry-After."""
        return self._wait


def rate_limit(*, text: str) -> tuple[int, int] | None:
    """Read `1000/s`, `60/min` or `100/h` as (requests, seconds); empty is None. Raises ValueError."""
    if not text:
        return None
    match = re.fullmatch(r"([1-9][0-9]{0,8})/(s|min|h)", text)
    if match is None:
        raise ValueError(f"API_RATE_LIMIT is {text!r}: write 1000/s, 60/min or 100/h")
    return int(match[1]), SECONDS[match[2]]
