"""Signatures are those that AWS's own client sends."""

import builtins
import datetime as dt
import hashlib
import hmac
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import boto3
import pytest
from botocore import auth as botocore_auth
from botocore.config import Config as BotoConfig
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import ProfileNotFound
from botocore.session import Session
from pydantic import SecretStr

from adapters.base import Auth, FailureKind, Outgoing, Retry, Target, UpstreamFailure
from proxy import signing
from proxy.signing import Signer

# The key of AWS's own examples.
ACCESS = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "AQoDYXdzEPT//////////wEXAMPLE"
NOW = dt.datetime(2026, 8, 30, 12, 36, 0, tzinfo=dt.UTC)
BODY = b'{"messages":[{"role":"user","content":[{"text":"hi"}]}]}'
MODEL = "arn:aws:bedrock:eu-west-1:1:inference-profile/us.anthropic.claude-sonnet-4-v1:0"


@pytest.fixture(autouse=True)
def _still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One moment, and a machine without credentials."""
    monkeypatch.setattr(botocore_auth, "get_current_datetime", lambda: NOW)
    for name in ("AWS_PROFILE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


class _Heard(BaseHTTPRequestHandler):
    requests: ClassVar[list[tuple[str, dict[str, str], bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.requests.append((self.path, dict(self.headers.items()), body))
        self.send_response(200)
        self.send_header("content-length", "2")
        self.send_header("content-type", "application/json")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


@pytest.fixture
def server() -> Iterator[str]:
    _Heard.requests.clear()
    with HTTPServer(("127.0.0.1", 0), _Heard) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


def target(key: str | None = None, region: str | None = "eu-west-1") -> Target:
    api_key = None if key is None else SecretStr(key)
    return Target("aws", "m", "bedrock", "", api_key, auth=Auth.SIGV4, region=region)


def outgoing(body: bytes = BODY) -> Outgoing:
    url = "https://bedrock-runtime.eu-west-1.amazonaws.com/model/a.b-v1%3A0/converse"
    return Outgoing(url, {"content-type": "application/json", "user-agent": "turnout"}, body)


def by_hand(signed: Outgoing, path: str, body: bytes) -> str:
    """The signature, as AWS's guide to Signature Version 4 has it, in small."""
    headers = {
        "content-type": "application/json",
        "host": "bedrock-runtime.eu-west-1.amazonaws.com",
        "x-amz-date": "20260830T123600Z",
    }
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    digest = hashlib.sha256(body).hexdigest()
    canonical = f"POST\n{path}\n\n{lines}\n{';'.join(headers)}\n{digest}"
    scope = "20260830/eu-west-1/bedrock/aws4_request"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    key = b"AWS4" + SECRET.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n20260830T123600Z\n{scope}\n{hashed}"
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    return (
        f"AWS4-HMAC-SHA256 Credential={ACCESS}/{scope}, "
        f"SignedHeaders={';'.join(headers)}, Signature={signature}"
    )


def signature(signed: Outgoing) -> str:
    return signed.headers["Authorization"].rpartition("Signature=")[2]


@pytest.mark.parametrize("token", [None, TOKEN])
def test_what_awss_client_sends(server: str, token: str | None) -> None:
    client = boto3.client(
        "bedrock-runtime",
        region_name="eu-west-1",
        endpoint_url=server,
        aws_access_key_id=ACCESS,
        aws_secret_access_key=SECRET,
        aws_session_token=token,
        config=BotoConfig(retries={"total_max_attempts": 1}),
    )
    client.converse(modelId=MODEL, messages=[{"role": "user", "content": [{"text": "hi"}]}])
    ((path, headers, body),) = _Heard.requests
    low = {name.lower(): value for name, value in headers.items()}
    names = low["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    ours = ("host", "x-amz-date", "x-amz-security-token")
    given = {name: low[name] for name in names if name not in ours}
    key = ":".join(filter(None, (ACCESS, SECRET, token)))
    signed = Signer().sign(Outgoing(server + path, given, body), target(key))
    found = {name.lower(): value for name, value in signed.headers.items()}
    assert found["authorization"] == low["authorization"]
    assert found["x-amz-date"] == low["x-amz-date"]
    assert found.get("x-amz-security-token") == token
    assert (signed.url, signed.body) == (server + path, body)


def test_the_sum_by_hand() -> None:
    before = outgoing()
    signed = Signer().sign(before, target(f"{ACCESS}:{SECRET}"))
    path = "/model/a.b-v1%253A0/converse"  # AWS escapes the path once more
    assert signed.headers["Authorization"] == by_hand(signed, path, BODY)
    assert signed.headers["user-agent"] == "turnout"
    assert "Authorization" not in before.headers, "the request given is left as it was"


def test_whatever_changes_changes_the_signature() -> None:
    key = f"{ACCESS}:{SECRET}"
    signer = Signer()
    signed = signature(signer.sign(outgoing(), target(key)))
    assert signature(signer.sign(outgoing(), target(key))) == signed
    assert signature(signer.sign(outgoing(BODY + b" "), target(key))) != signed
    assert signature(signer.sign(outgoing(), target(key, "us-east-1"))) != signed
    assert signature(signer.sign(outgoing(), target(key + "x"))) != signed
    elsewhere = outgoing()._replace(url=outgoing().url + "-stream")
    assert signature(signer.sign(elsewhere, target(key))) != signed


async def test_the_chain_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    original = Session.get_credentials
    monkeypatch.setattr(
        Session, "get_credentials", lambda self: (asked.append(1), original(self))[1]
    )
    (tmp_path / "credentials").write_text(
        f"[default]\naws_access_key_id = {ACCESS}\naws_secret_access_key = {SECRET}\n"
    )
    monkeypatch.setattr(signing, "PAUSE", 0.0)
    signer = Signer()
    await signer.ready(target())
    await signer.ready()
    signed = signer.sign(outgoing(), target())
    assert asked == [1]
    assert signature(signed) == signature(Signer().sign(outgoing(), target(f"{ACCESS}:{SECRET}")))


async def test_a_targets_own_key_asks_no_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "get_credentials", lambda self: pytest.fail("asked"))
    signer = Signer()
    await signer.ready(target(f"{ACCESS}:{SECRET}"))
    await signer.ready(Target("up", "m", "openai", ""))


async def test_what_runs_out_is_refreshed(monkeypatch: pytest.MonkeyPatch) -> None:
    given = iter(["first", "second"])
    left = iter([60, 7200])  # seconds: under botocore's quarter of an hour, then over it

    def fetch() -> dict[str, str]:
        expires = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=next(left))
        return {
            "access_key": next(given),
            "secret_key": SECRET,
            "token": TOKEN,
            "expiry_time": expires.isoformat(),
        }

    source = RefreshableCredentials.create_from_metadata(fetch(), fetch, "test")
    monkeypatch.setattr(Session, "get_credentials", lambda self: source)
    signer = Signer()
    await signer.ready()
    signed = signer.sign(outgoing(), target())
    assert "Credential=second/" in signed.headers["Authorization"]
    monkeypatch.setattr(signing, "PAUSE", 0.0)
    await signer.ready()  # a third fetch would find `given` empty
    assert "Credential=second/" in signer.sign(outgoing(), target()).headers["Authorization"]


async def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = Signer()
    await signer.ready()
    with pytest.raises(UpstreamFailure, match="no AWS credentials for provider aws") as caught:
        signer.sign(outgoing(), target())
    assert caught.value.failure.kind is FailureKind.AUTH
    assert caught.value.failure.retry is Retry.NEXT_TARGET

    def missing(self: Session) -> None:
        raise ProfileNotFound(profile="p-canary")

    monkeypatch.setattr(Session, "get_credentials", missing)
    monkeypatch.setattr(signing, "PAUSE", 0.0)
    await signer.ready()
    with pytest.raises(UpstreamFailure, match="ProfileNotFound") as caught:
        signer.sign(outgoing(), target())
    assert "canary" not in str(caught.value)


async def test_a_look_up_in_vain_is_not_repeated_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(Session, "get_credentials", lambda self: asked.append(1))
    signer = Signer()
    await signer.ready()
    await signer.ready()
    assert asked == [1]


@pytest.mark.parametrize("key", ["AK", "AK:", ":SK"])
def test_a_malformed_key(key: str) -> None:
    with pytest.raises(UpstreamFailure, match="ACCESS:SECRET") as caught:
        Signer().sign(outgoing(), target(key))
    assert "AK" not in str(caught.value)


def test_without_a_region() -> None:
    with pytest.raises(UpstreamFailure, match="no region"):
        Signer().sign(outgoing(), target(f"{ACCESS}:{SECRET}", None))


async def test_without_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("botocore"):
            raise ImportError(name)
        return original(name, *args, **options)

    signing._botocore.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    signer = Signer()
    for key in (None, f"{ACCESS}:{SECRET}"):
        with pytest.raises(UpstreamFailure, match=r"pip install 'turnout\[bedrock\]'"):
            await signer.ready(target(key))
    with pytest.raises(UpstreamFailure, match=r"turnout\[bedrock\]") as caught:
        signer.sign(outgoing(), target(f"{ACCESS}:{SECRET}"))
    assert caught.value.failure.kind is FailureKind.AUTH
