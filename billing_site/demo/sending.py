"""Sends usage events to the running product, as a customer's machine would: NDJSON over HTTP, two connections."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import requests

from billing_site.demo.errors import DemoFailed
from metering.ingest import Receipt

EVENTS_PER_REQUEST = 4_000
CONNECTIONS = 2
TIMEOUT_SECONDS = 60
# A web process that is restarted, or a machine that is busy, gets another chance: what was accepted counts as duplicate then.
ATTEMPTS = 3


def send_events(*, url: str, key: str, lines: Sequence[bytes], progress: Callable[[int], None]) -> Receipt:
    """Send JSON lines in order of time, tell `progress` how many are through, and return what became of them.

    Raises DemoFailed where events are refused or nobody answers.
    """
    batches = [lines[start : start + EVENTS_PER_REQUEST] for start in range(0, len(lines), EVENTS_PER_REQUEST)]
    with requests.Session() as session:
        session.trust_env = False
        session.headers.update({"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"})

        def send(batch: Sequence[bytes]) -> Receipt:
            receipt = _send_batch(session, url=f"{url}/api/v1/events", batch=batch)
            progress(len(batch))
            return receipt

        with ThreadPoolExecutor(max_workers=CONNECTIONS) as pool:
            return sum(pool.map(send, batches), Receipt(0, 0))


def _send_batch(session: requests.Session, *, url: str, batch: Sequence[bytes]) -> Receipt:
    body = b"\n".join(batch)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            answer = session.post(url, data=body, timeout=TIMEOUT_SECONDS)
            break
        except requests.ConnectionError as error:
            if attempt == ATTEMPTS:
                raise DemoFailed(f"The web does not answer at {url}: {error}") from error
    if answer.status_code != requests.codes.accepted:
        raise DemoFailed(f"{url} answered {answer.status_code}: {answer.text[:500]}")
    told = answer.json()
    if told["rejected"]:
        raise DemoFailed(f"{len(told['rejected'])} events were rejected, the first: {told['rejected'][0]}")
    return Receipt(accepted=told["accepted"], duplicates=told["duplicates"])
