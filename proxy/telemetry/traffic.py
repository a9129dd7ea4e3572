"""What Prometheus is told of requests and attempts: a few additions when a request has ended.

Label values are few by construction. Providers and tasks are those of the configuration; a model
is one that it names, or that has answered, up to `LEARNT` of them; what else callers make up is
`other`. Codes are Turnout's own, or an upstream's for a fault of the caller's: `CODES` at most.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

from adapters.base import Endpoint
from proxy.config import Config
from proxy.telemetry.names import OPERATIONS
from proxy.telemetry.spans import error_type
from proxy.types import Attempt, Outcome, Record

SECONDS = (
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
)  # fmt: skip
"""Upper ends of the steps of durations, as the semantic conventions advise."""

FIRST = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    30.0, 60.0,
)  # fmt: skip
"""The same of the wait for a first token: theirs, and two for patient callers."""

TOKENS = tuple(4**step for step in range(14))
"""The same of tokens."""

LEARNT = 200  # models that the configuration does not name
CODES = 200  # different codes of errors
OTHER = "other"


class Histogram:
    """How many values fell into each step; the last one has no end."""

    __slots__ = ("ends", "steps", "total")

    def __init__(self, ends: tuple[float, ...]) -> None:
        self.ends = ends
        self.steps = [0] * (len(ends) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.steps[bisect_left(self.ends, value)] += 1
        self.total += value


class Served(NamedTuple):
    """Labels of requests: as they were answered. Empty where there was no such thing."""

    operation: str
    provider: str
    model: str
    task: str
    code: str


class Sent(NamedTuple):
    """Labels of what was asked of a provider, or answered in its name."""

    operation: str
    provider: str
    model: str
    last: str  # the error's code, or the class of tokens


class Spent(NamedTuple):
    """Labels of money."""

    provider: str
    model: str
    task: str


def _durations() -> Histogram:
    return Histogram(SECONDS)


def _firsts() -> Histogram:
    return Histogram(FIRST)


def _sizes() -> Histogram:
    return Histogram(TOKENS)


class Traffic:
    """Sums since the process began."""

    def __init__(self, current: Callable[[], Config]) -> None:
        self.requests: defaultdict[Served, int] = defaultdict(int)
        self.refusals: defaultdict[str, int] = defaultdict(int)  # by code: of limits
        self.turned: defaultdict[str, int] = defaultdict(int)  # by code: at the door
        self.durations: defaultdict[Sent, Histogram] = defaultdict(_durations)
        self.first_tokens: defaultdict[Sent, Histogram] = defaultdict(_firsts)
        self.attempts: defaultdict[Sent, Histogram] = defaultdict(_durations)
        self.first_chunks: defaultdict[Sent, Histogram] = defaultdict(_firsts)
        self.tokens: defaultdict[Sent, Histogram] = defaultdict(_sizes)
        self.nanousd: defaultdict[Spent, int] = defaultdict(int)
        self._current = current
        self._config: Config | None = None
        self._named: frozenset[tuple[str, str]] = frozenset()
        self._learnt: set[tuple[str, str]] = set()
        self._codes: set[str] = set()

    def note(self, record: Record) -> None:
        """A call that is complete."""
        self._follow()
        operation = OPERATIONS[record.endpoint or Endpoint.CHAT]
        task = self._task(record.task)
        for attempt in record.attempts:
            self._note_attempt(operation, task, attempt, record.stream)
        answered = record.outcome is Outcome.OK
        provider, model = self._place(record.provider, record.model, answered)
        code = self._code(error_type(record) or "")
        self.requests[Served(operation, provider, model, task, code)] += 1
        key = Sent(operation, provider, model, code)
        self.durations[key].add(record.duration)
        if record.stream and answered and record.first_token is not None:
            self.first_tokens[key].add(record.first_token)
        if record.status == 429 and not record.attempts:
            self.refusals[code] += 1

    def turned_away(self, record: Record) -> None:
        """A request that came to no call: its code, if it was refused."""
        if record.error_code is not None:
            self.turned[self._code(record.error_code)] += 1

    def _note_attempt(self, operation: str, task: str, attempt: Attempt, stream: bool) -> None:
        answered = attempt.outcome is Outcome.OK
        provider, model = self._place(attempt.provider, attempt.model, answered)
        code = self._code("" if answered else attempt.error_code or OTHER)
        key = Sent(operation, provider, model, code)
        self.attempts[key].add(attempt.duration)
        if stream and answered and attempt.first_token is not None:
            self.first_chunks[key].add(attempt.first_token)
        usage = attempt.usage
        if usage is not None:
            self.tokens[Sent(operation, provider, model, "input")].add(usage.prompt)
            self.tokens[Sent(operation, provider, model, "output")].add(usage.completion)
        if attempt.cost_nanousd is not None:
            self.nanousd[Spent(provider, model, task)] += attempt.cost_nanousd

    def _place(self, provider: str | None, model: str | None, answered: bool) -> tuple[str, str]:
        """The labels of a target; only one that answers is learnt."""
        if provider is None or model is None:
            return "", ""
        place = provider, model
        if place in self._named or place in self._learnt:
            return place
        if answered and len(self._learnt) < LEARNT:
            self._learnt.add(place)
            return place
        return provider, OTHER

    def _code(self, code: str) -> str:
        if code not in self._codes:
            if len(self._codes) >= CODES:
                return OTHER
            self._codes.add(code)
        return code

    def _task(self, task: str | None) -> str:
        if task is None:
            return ""
        assert self._config is not None
        return task if task in self._config.tasks else OTHER

    def _follow(self) -> None:
        """Knows the models of the configuration in force."""
        config = self._current()
        if config is not self._config:
            self._config = config
            self._named = frozenset(_named(config))


def _named(config: Config) -> Iterator[tuple[str, str]]:
    """(provider, model) as the configuration has them, without those of wildcards."""
    for route in (*config.models.values(), *config.tasks.values()):
        for target in route.targets:
            provider, _, model = target.target.partition("/")
            if model and "*" not in model:
                yield provider, model
    for name, entry in config.providers.items():
        for listed in (*entry.models, *filter(None, [entry.model])):
            yield name, listed
