"""The limit of calls in a second, as strict as it can be: over any second that ends now, not over seconds of the clock."""

import threading
import time
from collections import deque


class Limiter:
    """Remembers the calls of the last second, in this process: there is one. Refused calls do not count, as at Stripe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: deque[float] = deque()
        self.refused = 0
        self.accepted = 0

    def takes(self, *, per_second: int) -> bool:
        """Say whether one more call is taken at this moment; 0 takes all."""
        moment = time.monotonic()
        with self._lock:
            while self._taken and self._taken[0] <= moment - 1:
                self._taken.popleft()
            if per_second and len(self._taken) >= per_second:
                self.refused += 1
                return False
            self._taken.append(moment)
            self.accepted += 1
            return True

    def forget(self) -> None:
        """Begin to count anew."""
        with self._lock:
            self._taken.clear()
            self.refused = self.accepted = 0


limiter = Limiter()
