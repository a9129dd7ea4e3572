"""Spoiled upstream bytes through the adapters, and what must be true of them whatever they are.

Nothing but `UpstreamFailure` is raised, nothing takes longer than `PATIENCE`, and the client gets
no event that its SDK can't read. See docs/fuzzing.md.
"""

import json
import random
import re
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_origin

from anthropic.types import Message, RawMessageStreamEvent
from openai._models import construct_type
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter, ValidationError

from adapters import adapter_for
from adapters.base import (
    Adapter,
    Ask,
    Endpoint,
    Failure,
    FailureKind,
    Retry,
    UpstreamFailure,
    Usage,
)
from tests.adapters import asks
from tests.fuzz.mutations import DIALECTS, Kind, pick, split, spoiled

PATIENCE = 5.0
"""Seconds that a case may take; its usual time is a thousandth of one."""

PASSAGES = frozenset({"openai", "llamacpp"})
"""Dialects whose unknown members and shapes are passed on: they are read as loosely as OpenAI's
SDK does, which takes what it does not know for what it looks like."""

_EVENT = re.compile(rb"(?:event: ([^\r\n]*)\n)?data: ([^\r\n]*)")
_DONE = b"[DONE]"

_SAMPLE_LIMIT = 50_000  # events known to be good that are remembered


class Wrong(Exception):
    """Something that must be true was not."""


class Miscounted(Wrong):
    """A usage that is none; one fault, whatever the form it shows in."""


class Hang(BaseException):
    """A case took longer than `PATIENCE`. No adapter's `except` can swallow it."""


def must(holds: object, what: str) -> None:
    if not holds:
        raise Wrong(what)


class Reader:
    """One SDK's reader of one type: strictly, as with `_strict_response_validation`, or loosely.

    Of a union's members the one is taken that the value's `type` names: pydantic would try all.
    """

    def __init__(self, kind: Any, is_loose: bool) -> None:
        self._kind = kind
        self._is_loose = is_loose
        self._good: set[bytes] = set()
        self._adapter: TypeAdapter[Any] = TypeAdapter(kind)
        members = get_args(get_args(kind)[0]) if get_origin(kind) is Annotated else ()
        self._by_type: dict[Any, TypeAdapter[Any]] = {
            name: TypeAdapter(member)
            for member in members
            for name in get_args(member.model_fields["type"].annotation)
        }

    def read(self, payload: bytes) -> Any:
        """The payload's JSON; raises `Wrong` when the SDK would not have it."""
        try:
            value = json.loads(payload.decode())
        except (ValueError, RecursionError) as error:
            raise Wrong(f"not JSON for the SDK: {type(error).__name__}") from error
        if payload not in self._good:
            self._check(value)
            if len(self._good) > _SAMPLE_LIMIT:
                self._good.clear()
            self._good.add(payload)
        return value

    def _check(self, value: Any) -> None:
        adapter = self._adapter
        if self._by_type and isinstance(value, dict):
            adapter = self._by_type.get(str(value.get("type")), adapter)
        if self._kind is Completion and isinstance(value, dict):
            value = _ended(value)
        try:
            adapter.validate_python(value)
        except ValidationError as error:
            if self._is_loose:
                self._construct(value)
                return
            first = _telling(error.errors())
            where = ".".join(re.sub(r"\d+", "N", str(part)) for part in first["loc"][:6])
            raise Wrong(f"refused by the SDK: {where}: {first['type']}") from error

    def _construct(self, value: Any) -> None:
        try:
            construct_type(value=value, type_=self._kind)
        except Exception as error:
            raise Wrong(f"the SDK raises {type(error).__name__}") from error


def _telling(errors: Sequence[Any]) -> Any:
    """Of a union's errors the first of the member that was meant: the one of the right `type`."""
    others = {error["loc"][:-1] for error in errors if error["loc"][-1:] == ("type",)}
    meant = (error for error in errors if not any(error["loc"][: len(o)] == o for o in others))
    return next(meant, errors[0])


def _ended(value: dict[str, Any]) -> dict[str, Any]:
    """A completion with an end: its type has no null there, OpenAI's own chunks have."""
    choices = value.get("choices")
    if not isinstance(choices, list):
        return value
    ended = [
        c | {"finish_reason": "stop"}
        if isinstance(c, dict) and c.get("finish_reason", 0) is None
        else c
        for c in choices
    ]
    return value | {"choices": ended}


class Form(NamedTuple):
    """One way to ask one dialect, and how its answers are read."""

    name: str
    kind: Kind
    adapter: Adapter
    ask: Ask
    reader: Reader
    check: Callable[[list[tuple[bytes, bytes]], Reader, bool], None] | None = None


@dataclass
class Finding:
    """A case that went wrong; `number` with the seed replays it."""

    seed: int
    number: int
    form: str
    what: str
    raw: bytes
    trace: str

    def __str__(self) -> str:
        what = self.what.removeprefix(self.form + ": ")
        return f"{self.seed}:{self.number} {self.form}: {what}"


@dataclass
class Report:
    """What a run did: cases by dialect, findings by what they are, each with its first case."""

    cases: Counter[str] = field(default_factory=Counter)
    findings: dict[str, Finding] = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)

    def add(self, dialect: str, finding: Finding | None) -> None:
        self.cases[dialect] += 1
        if finding is not None:
            key = finding.what
            self.findings.setdefault(key, finding)
            self.times[key] += 1

    def join(self, other: "Report") -> None:
        self.cases += other.cases
        self.times += other.times
        for key, finding in other.findings.items():
            mine = self.findings.get(key)
            if mine is None or finding.number < mine.number:
                self.findings[key] = finding


# What must be true of a stream given out.


def check_chat(events: list[tuple[bytes, bytes]], reader: Reader, done: bool) -> None:
    """Chunks, and `[DONE]` last if the stream is whole and never else."""
    said = [payload for _, payload in events]
    must(not any(name for name, _ in events), "a chat's event has a name")
    must((_DONE in said) == done, "[DONE] and done do not agree")
    must(_DONE not in said[:-1], "something follows [DONE]")
    for payload in said:
        if payload != _DONE:
            reader.read(payload)


def check_typed(events: list[tuple[bytes, bytes]], reader: Reader, done: bool) -> None:
    """Events named for their type."""
    for name, payload in events:
        must(name.decode() == str(reader.read(payload)["type"]), "an event's name is not its type")


def check_messages(events: list[tuple[bytes, bytes]], reader: Reader, done: bool) -> None:
    """Anthropic's events: blocks one after another, between a start and a stop."""
    check_typed(events, reader, done)
    said = [json.loads(payload) for _, payload in events]
    names = [event["type"] for event in said]
    must((names[-1:] == ["message_stop"]) == done, "message_stop and done do not agree")
    must(names.count("message_stop") <= 1, "something follows message_stop")
    must(names[:1] in ([], ["message_start"]), "the first event is not message_start")
    must(names.count("message_start") <= 1, "a message starts twice")
    begun, is_open = 0, False
    for event in said:
        match event["type"]:
            case "content_block_start":
                must(not is_open and event["index"] == begun, "a block starts out of turn")
                begun, is_open = begun + 1, True
            case "content_block_delta" | "content_block_stop" as kind:
                must(is_open and event["index"] == begun - 1, f"{kind} of no open block")
                is_open = kind == "content_block_delta"
            case "message_delta":
                must(not is_open, "a block is open at the end")


def check_responses(events: list[tuple[bytes, bytes]], reader: Reader, done: bool) -> None:
    """Events of the Responses API, numbered from 0, with one end."""
    check_typed(events, reader, done)
    said = [json.loads(payload) for _, payload in events]
    numbers = [event["sequence_number"] for event in said]
    must(numbers == list(range(len(said))), "the sequence numbers are not in sequence")
    ends = [e["type"] in ("response.completed", "response.incomplete") for e in said]
    must(ends[-1:] == [True] if done else not any(ends), "the end and done do not agree")
    must(sum(ends) <= 1, "a response ends twice")


# The ways to ask.


CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
ASKED: dict[Endpoint, dict[str, Any]] = {
    Endpoint.CHAT: CHAT,
    Endpoint.MESSAGES: CHAT | {"max_tokens": 9},
    Endpoint.COMPLETIONS: {"model": "m", "prompt": "Hi"},
    Endpoint.RESPONSES: {
        "model": "m",
        "input": "Hi",
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
    },
    Endpoint.EMBEDDINGS: {"model": "m", "input": "Hi"},
}

WHOLE: dict[Endpoint, Any] = {
    Endpoint.CHAT: ChatCompletion,
    Endpoint.MESSAGES: Message,
    Endpoint.COMPLETIONS: Completion,
    Endpoint.RESPONSES: Response,
    Endpoint.EMBEDDINGS: CreateEmbeddingResponse,
}

STREAMED: dict[Endpoint, tuple[Any, Any]] = {
    Endpoint.CHAT: (ChatCompletionChunk, check_chat),
    Endpoint.MESSAGES: (RawMessageStreamEvent, check_messages),
    Endpoint.COMPLETIONS: (Completion, check_chat),
    Endpoint.RESPONSES: (ResponseStreamEvent, check_responses),
}


def make_forms(dialect: str, replaced: Adapter | None = None) -> list[Form]:
    """All ways to ask a dialect; `replaced` takes the place of its chat."""
    target = asks.target(dialect=dialect, has_responses=False)
    forms = []
    for endpoint, body in ASKED.items():
        adapter = replaced or adapter_for(Endpoint.CHAT, target)
        if endpoint is Endpoint.EMBEDDINGS:
            if endpoint not in adapter.endpoints:
                continue
        elif endpoint is not Endpoint.CHAT:
            adapter = adapter_for(endpoint, target)
        native = endpoint in adapter.endpoints and endpoint is not Endpoint.RESPONSES
        is_passage = dialect in PASSAGES or endpoint is Endpoint.MESSAGES
        is_loose = native and is_passage
        kind: Kind = "embeddings" if endpoint is Endpoint.EMBEDDINGS else "whole"
        whole = Reader(WHOLE[endpoint], is_loose)
        forms.append(
            Form(f"{dialect} {endpoint} whole", kind, adapter, _ask(endpoint, body), whole)
        )
        if endpoint in STREAMED:
            type_, check = STREAMED[endpoint]
            if is_loose and endpoint is Endpoint.MESSAGES:
                check = check_typed
            reader = Reader(type_, is_loose)
            asked = [("stream", body | {"stream": True})]
            if endpoint in (Endpoint.CHAT, Endpoint.COMPLETIONS):
                counted = asked[0][1] | {"stream_options": {"include_usage": True}}
                asked.append(("stream with usage", counted))
            for name, said in asked:
                made = _ask(endpoint, said)
                forms.append(
                    Form(f"{dialect} {endpoint} {name}", "stream", adapter, made, reader, check)
                )
    adapter = replaced or adapter_for(Endpoint.CHAT, target)
    forms.append(
        Form(f"{dialect} error", "error", adapter, _ask(Endpoint.CHAT, CHAT), Reader(dict, True))
    )
    if dialect == "openai" and replaced is None:
        made = _ask(Endpoint.RESPONSES, ASKED[Endpoint.RESPONSES] | {"stream": True})
        reader = Reader(ResponseStreamEvent, is_loose=True)
        forms.append(Form("openai typed stream", "typed", adapter, made, reader, check_typed))
    return forms


def _ask(endpoint: Endpoint, body: dict[str, Any]) -> Ask:
    return asks.ask(endpoint, json.dumps(body).encode())


# A case.


def play(form: Form, pieces: Sequence[bytes]) -> None:
    """A stream through its translator, as the relay does it, and then past its end."""
    translator = form.adapter.stream(form.ask, _cost)
    out = b""
    for piece in pieces:
        was_done = translator.done
        more = translator.feed(piece)
        must(not (was_done and more), "something comes after the end")
        out += more
        if translator.failure is not None:
            break
    try:
        if not translator.done and translator.failure is None:
            out += translator.finish()
            must(translator.done or translator.failure, "a stream ends neither well nor badly")
    except UpstreamFailure as error:
        check_failure(error.failure)
        must(not translator.done, "a stream that is done fails")
    if translator.failure is not None:
        check_failure(translator.failure)
    check_usage(translator.usage)
    *lines, rest = out.split(b"\n\n")
    must(rest == b"", "an event without its end")
    events = [_EVENT.fullmatch(line) for line in lines]
    must(all(events), "what comes out is no server-sent event")
    assert form.check is not None
    form.check([(m[1] or b"", m[2]) for m in events if m], form.reader, translator.done)


def answer(form: Form, raw: bytes) -> None:
    """A whole answer."""
    try:
        reply = form.adapter.reply(form.ask, raw)
    except UpstreamFailure as error:
        check_failure(error.failure)
        return
    check_usage(reply.usage)
    must(isinstance(reply.text_bytes, int) and reply.text_bytes >= 0, "text_bytes is no size")
    form.reader.read(reply.body)


def fail(form: Form, raw: bytes, chance: random.Random) -> None:
    """An error's body, under any status."""
    headers = {name: value for name, value in HEADERS if chance.random() < 0.3}
    check_failure(form.adapter.failure(chance.choice(STATUSES), headers, raw))


STATUSES = (
    301,
    400,
    401,
    402,
    403,
    404,
    408,
    409,
    413,
    418,
    422,
    424,
    429,
    500,
    501,
    503,
    529,
    599,
)
HEADERS = (
    ("retry-after", "3"),
    ("retry-after", "soon"),
    ("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"),
    ("retry-after", "Wed, 99 Oct 99999 07:28:00 GMT"),
    ("retry-after-ms", "nan"),
    ("retry-after-ms", "1e400"),
    ("x-amzn-errortype", "ThrottlingException:http://x#y"),
)


def check_failure(failure: Failure) -> None:
    must(isinstance(failure, Failure), "a failure is none")
    must(isinstance(failure.kind, FailureKind), "a failure's kind is none")
    must(isinstance(failure.retry, Retry), "a failure's retry is none")
    must(isinstance(failure.message, str) and failure.message, "a failure has no message")
    failure.message.encode()
    for name in ("type", "code", "param"):
        word = getattr(failure, name)
        must(word is None or isinstance(word, str), f"a failure's {name} is no word")
    wait = failure.retry_after
    must(
        wait is None or (isinstance(wait, float) and 0 <= wait < float("inf")), "an odd retry_after"
    )
    status = failure.status
    must(status is None or (type(status) is int and 100 <= status <= 599), "an odd status")


def check_usage(usage: Usage | None) -> None:
    """Counts that the ledger can hold: SQLite's integers have 64 bits."""
    if usage is None:
        return
    for name, count in (*usage._asdict().items(), ("total", usage.total)):
        if type(count) is not int or not 0 <= count < 2**63:
            raise Miscounted(f"a usage's {name} is no count")


def _cost(usage: Usage) -> float:
    return usage.total * 1e-6


# A run.


_DIALECTS_FORMS: dict[str, list[Form]] = {}


def forms_of(dialect: str) -> list[Form]:
    if dialect not in _DIALECTS_FORMS:
        _DIALECTS_FORMS[dialect] = make_forms(dialect)
    return _DIALECTS_FORMS[dialect]


def run(
    seed: int,
    cases: int,
    dialects: Sequence[str] = DIALECTS,
    start: int = 0,
    forms: Mapping[str, list[Form]] | None = None,
) -> Report:
    """`cases` cases from number `start` on. A number's dialect is always the same; those of other
    dialects are passed over. `forms` takes the place of the real ones."""
    report = Report()
    with watchdog():
        for number in _numbers(start, cases, dialects):
            dialect = DIALECTS[number % len(DIALECTS)]
            found = (forms or {}).get(dialect) or forms_of(dialect)
            report.add(dialect, run_case(seed, number, dialect, found))
    return report


def _numbers(start: int, cases: int, dialects: Sequence[str]) -> Iterator[int]:
    number = start
    while cases:
        if DIALECTS[number % len(DIALECTS)] in dialects:
            cases -= 1
            yield number
        number += 1


def run_case(seed: int, number: int, dialect: str, forms: list[Form]) -> Finding | None:
    """One case: a form, an entry of its kind, what is done to it, how it is split."""
    chance = random.Random(seed * 1_000_000_007 + number)
    form = chance.choice(forms)
    entry = pick(chance, dialect, form.kind)
    assert entry is not None, form.name
    raw = spoiled(chance, entry)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        if form.kind == "error":
            fail(form, raw, chance)
        elif form.check is None:
            answer(form, raw)
        else:
            play(form, split(chance, raw))
    except (Exception, Hang) as error:
        trace = traceback.format_exc()
        return Finding(seed, number, form.name, _what(form, error), raw, trace)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return None


def _what(form: Form, error: BaseException) -> str:
    """A finding's name: the same for the same fault."""
    if isinstance(error, Miscounted):
        return f"{form.name.partition(' ')[0]}: {error}"
    if isinstance(error, Wrong):
        return f"{form.name}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "adapters" in Path(f.filename).parts and "tests" not in f.filename]
    at = (own or frames)[-1]
    return f"{type(error).__name__} in {Path(at.filename).name}:{at.lineno} {at.name}"


@contextmanager
def watchdog() -> Iterator[None]:
    """Lets the timer of a case raise `Hang`. Main thread only, as signals are."""

    def bark(*_: object) -> None:
        raise Hang(f"a case takes longer than {PATIENCE:g} s")

    before = signal.signal(signal.SIGALRM, bark)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)
