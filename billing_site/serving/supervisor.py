"""Keeps a few programs running: starts them in order, restarts what dies, stops the last one after the others."""

import signal
import time
from collections.abc import Callable, Sequence
from typing import IO

from billing_site.serving.child import Child, Program

GAPS_SECONDS = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0)
# Who has lived this long is well again: its next restart is the first one.
WELL_AFTER_SECONDS = 60.0
# For the others together, and once more for the last one.
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.1


class Supervisor:
    """Runs programs until told to stop. Not for threads: it forks."""

    def __init__(
        self, *, programs: Sequence[Program], say: Callable[[str], None], output: IO[str] | None = None
    ) -> None:
        self._programs = tuple(programs)
        self._say = say
        self._output = output
        self._children: dict[str, Child] = {}
        self._failures: dict[str, int] = {}
        self._next_start: dict[str, float] = {}
        self._is_stopping = False
        self._is_in_a_hurry = False

    def start(self) -> None:
        """Start every program."""
        for program in self._programs:
            self._start(program)

    def pid_of(self, name: str) -> int | None:
        """Return the process of a program, or None while it waits for its restart."""
        child = self._children.get(name)
        return child.pid if child else None

    def stop_on_signals(self) -> None:
        """Let SIGTERM and Ctrl-C stop everything; a second one does not wait for anybody."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    @property
    def is_stopping(self) -> bool:
        """Whether a signal has asked for the end."""
        return self._is_stopping

    def run(self) -> None:
        """Look after the programs until a signal asks for the end; `stop` comes after it."""
        while not self._is_stopping:
            self.look()
            time.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Tell of what has ended and start again what is due."""
        for program in self._programs:
            child = self._children.get(program.name)
            if child is not None and child.has_ended():
                self._bury(program, child)
            elif child is None and not self._is_stopping and time.monotonic() >= self._next_start[program.name]:
                self._start(program)

    def stop(self) -> None:
        """Ask the programs to end, the last one after the others, then kill what has not ended in time.

        The last one is what the others talk to. Nothing is left.
        """
        self._is_stopping = True
        try:
            for group in (self._programs[:-1], self._programs[-1:]):
                children = [self._children[program.name] for program in group if program.name in self._children]
                self._end(children, until=time.monotonic() + STOP_SECONDS)
        finally:
            for child in self._children.values():
                child.sweep()
            self._children.clear()

    def _end(self, children: Sequence[Child], *, until: float) -> None:
        """Ask children to end and wait for them; who does not end in time is told of."""
        for child in children:
            child.ask_to_end()
        for child in children:
            while not child.wait(until=time.monotonic() + LOOK_SECONDS):
                if self._is_in_a_hurry or time.monotonic() >= until:
                    self._say(f"{child.program.name} (pid {child.pid}) did not end in time and is killed.")
                    break

    def _start(self, program: Program) -> None:
        self._children[program.name] = Child(program=program, output=self._output)

    def _bury(self, program: Program, child: Child) -> None:
        """Sweep away what a dead child left behind and arrange its restart."""
        status = child.sweep()
        del self._children[program.name]
        if self._is_stopping:
            return
        failures = 0 if child.seconds_alive >= WELL_AFTER_SECONDS else self._failures.get(program.name, 0)
        gap = GAPS_SECONDS[min(failures, len(GAPS_SECONDS) - 1)]
        self._failures[program.name] = failures + 1
        self._next_start[program.name] = time.monotonic() + gap
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        self._say(f"{program.name} (pid {child.pid}) ended {how}; it is started again in {gap:g} s.")

    def _on_signal(self, number: int, frame: object) -> None:
        self._is_in_a_hurry = self._is_stopping
        self._is_stopping = True
