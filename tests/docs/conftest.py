"""Fixtures of the documents' tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.session import Session
from tests.docs.stage import Stage, staged


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One gateway for all pages, with a key that has spent most of its budget."""
    with staged(tmp_path_factory.mktemp("stage")) as stage:
        secret, _ = stage.make_key(name="ci", limits={"budget": {"amount": 0.00006, "per": "day"}})
        spent = stage.http.post(
            "/v1/chat/completions",
            json={
                "model": "up/m-1",
                "max_tokens": 3,
                "messages": [{"role": "user", "content": "Hi"}],
            },
            headers={"authorization": f"Bearer {secret}"},
        )
        assert spent.status_code == 200, spent.text
        yield stage


@pytest.fixture
def session(stage: Stage, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Session]:
    page: str = request.param
    session = Session(stage, tmp_path, substitutes(page, stage, tmp_path))
    try:
        yield session
    finally:
        session.end()


def substitutes(page: str, stage: Stage, folder: Path) -> dict[str, str]:
    """What a page has placeholders for, and the files that it takes as there."""
    if page == "docs/identity.md":
        (folder / "password").write_text("a good long password\n")
        fields = {"email": "cy@example.com", "password": "a good long password"}
        made = stage.call("POST", "/api/v1/users", fields)
        typed = "--name Ann --password-file password"  # nobody is there to type it
        return {
            "--name Ann": typed,
            "FILE": "password",
            "disable ID": f"disable {made.json()['id']}",
        }
    if page == "docs/cache.md":
        (folder / "faq.txt").write_text("How high is it?\nAnd wide?\n")
        (folder / "faq.jsonl").write_text('{"prompt": "How deep?", "system": "Be brief."}\n')
        return {"key_01…": stage.key_id}
    if page == "docs/api.md":
        return {"key_…": stage.key_id}
    return {}
