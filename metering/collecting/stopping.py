"""Stop at the next good moment: SIGTERM and Ctrl-C raise a flag instead of tearing a batch apart."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopFlag:
    """Is raised by SIGTERM or SIGINT while it is entered; whoever works looks at it between batches."""

    def __init__(self) -> None:
        self._raised = threading.Event()
        self._before: list[Any] = []

    def __enter__(self) -> "StopFlag":
        self._before = [signal.signal(number, self._on_signal) for number in SIGNALS]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in zip(SIGNALS, self._before, strict=True):
            signal.signal(number, handler)

    def raise_it(self) -> None:
        """Say that it is time to stop."""
        self._raised.set()

    def is_raised(self) -> bool:
        """Say whether it is time to stop."""
        return self._raised.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until the flag is raised; says which."""
        return self._raised.wait(seconds)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.raise_it()
