"""The short form of the fuzzing (docs/fuzzing.md), and that its checks can fail."""

import random
import time
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from adapters import ADAPTERS
from adapters.base import Ask, CostOf, Failure, Reply, StreamTranslator
from adapters.completion import DONE
from adapters.eventstream import Decoder
from tests import fuzz
from tests.fuzz import mutations
from tests.fuzz.mutations import DIALECTS, corpus, entries, resign, spoiled

CASES = 4500  # of each dialect
SEED = 20_260_101


@pytest.mark.parametrize("dialect", DIALECTS)
def test_whatever_an_upstream_says(dialect: str) -> None:
    report = fuzz.run(SEED, CASES, [dialect])
    assert report.cases == {dialect: CASES}
    assert not report.findings, "\n".join(map(str, report.findings.values()))


# The corpus and what is done to it.


def test_the_corpus_has_every_kind() -> None:
    kinds = {(entry.dialect, entry.kind) for entry in corpus()}
    assert {(d, k) for d in DIALECTS for k in ("stream", "whole", "error")} <= kinds
    assert ("openai", "typed") in kinds
    assert {(d, "embeddings") for d in ("openai", "gemini", "ollama")} <= kinds
    assert len(corpus()) > 300


def test_units_are_the_answer() -> None:
    raw = mutations.spoken("anthropic", "hello", stream=True)
    assert b"".join(u.written() for u in mutations.units_of("anthropic", "stream", raw)) == raw
    payloads = [u.payload for u in mutations.units_of("anthropic", "stream", raw)]
    assert [orjson.loads(payload)["type"] for payload in payloads] == [
        "message_start",
        "content_block_start",
        "ping",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    frames = mutations.spoken("bedrock", "call", stream=True)
    units = mutations.units_of("bedrock", "stream", frames)
    assert b"".join(unit.written() for unit in units) == frames
    assert len(units) == 7


def test_the_same_seed_does_the_same() -> None:
    for dialect in DIALECTS:
        for entry in entries(dialect, "stream")[0][:5]:
            once, again = (spoiled(random.Random(3), entry) for _ in range(2))
            assert once == again


def test_most_cases_are_spoiled_and_some_are_not() -> None:
    chance = random.Random(5)
    entry = entries("gemini", "stream")[0][-1]
    plain = b"".join(unit.written() for unit in entry.units)
    changed = sum(spoiled(chance, entry) != plain for _ in range(500))
    assert 300 < changed < 480


def test_frames_are_signed_anew() -> None:
    chance = random.Random(7)
    frame = entries("bedrock", "stream")[0][0].units[0].written()
    decoders = [Decoder() for _ in range(200)]
    for decoder in decoders:
        decoder.feed(resign(chance, frame))
    assert sum(not decoder.corrupt for decoder in decoders) > 100


# Broken adapters.


class Faulty:
    """A real adapter but for one fault."""

    endpoints = ADAPTERS["ollama"].endpoints

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def request(self, ask: Ask, target: Any) -> Any:
        return ADAPTERS["ollama"].request(ask, target)

    def reply(self, ask: Ask, body: bytes) -> Reply:
        reply = ADAPTERS["ollama"].reply(ask, body)
        if self.fault == "shape":
            reply = reply._replace(body=reply.body.replace(b'"choices"', b'"choice"'))
        return reply

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        if self.fault == "message":
            return Failure(orjson.loads(b"null"), "", orjson.loads(b"null"))
        return ADAPTERS["ollama"].failure(status, headers, body)

    def stream(self, ask: Ask, cost: CostOf) -> StreamTranslator:
        inner = ADAPTERS["ollama"].stream(ask, cost)
        return FaultyStream(inner, self.fault)


class FaultyStream:
    def __init__(self, inner: Any, fault: str) -> None:
        self.__dict__.update(inner=inner, fault=fault)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def feed(self, data: bytes) -> bytes:
        out: bytes = self.inner.feed(data)
        match self.fault:
            case "crash" if b"\\" in data:
                raise KeyError("a backslash")
            case "hang" if b"\\" in data:
                time.sleep(60)
            case "event":
                return out.replace(b'"delta"', b"'delta'")
            case "chunk":
                return out.replace(b'"index":0', b'"index":"x"')
            case "more" if self.inner.done:
                return out + b"data: {}\n\n"
            case "end":
                return out.replace(DONE, b"")
            case "bytes":
                return out.replace(b"data: ", b"dato: ")
        return out

    def finish(self) -> bytes:
        out: bytes = self.inner.finish()
        return out


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ("crash", "KeyError in test_fuzz.py"),
        ("hang", "Hang in"),
        ("event", "ollama /chat/completions stream: not JSON for the SDK: JSONDecodeError"),
        ("chunk", "refused by the SDK: choices.N.index: int_parsing"),
        ("more", "something follows [DONE]"),
        ("end", "[DONE] and done do not agree"),
        ("bytes", "what comes out is no server-sent event"),
        ("shape", "ollama /chat/completions whole: refused by the SDK: choices: missing"),
        ("message", "ollama error: a failure's kind is none"),
    ],
)
def test_the_checks_catch(fault: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "PATIENCE", 0.2)
    broken = [
        form
        for form in fuzz.make_forms("ollama", Faulty(fault))
        if "/chat" in form.name or form.kind == "error"
    ]
    report = fuzz.run(1, 60, ["ollama"], forms={"ollama": broken})
    assert any(what in found for found in report.findings), list(report.findings)
    finding = next(f for name, f in report.findings.items() if what in name)
    again = fuzz.run(1, 1, ["ollama"], start=finding.number, forms={"ollama": broken})
    assert [found.what for found in again.findings.values()] == [finding.what]
