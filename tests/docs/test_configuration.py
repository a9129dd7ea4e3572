"""docs/configuration.md is what its generator writes, and every field of every section is in it."""

import importlib
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from proxy.config import Config
from proxy.units import Bytes, Seconds, Share
from tests.docs.blocks import ROOT

HOW = "run: python docs/generate_configuration.py"


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return importlib.import_module("generate_configuration")


def test_the_page_is_what_the_generator_writes(generator: Any) -> None:
    made = generator.written(Config, generator.INTROS, generator.TEXTS)
    assert made == (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8"), HOW


@pytest.mark.parametrize(
    "line",
    [
        (
            "| `server.port` | whole number, 0 to 65535 | `8000` "
            "| Port; 0 takes a free one. *Restart.* |"
        ),
        (
            "| `retry.backoff` | two durations | `[500ms, 8s]` "
            "| First and longest bound of the wait between tries of one target. |"
        ),
        "| `providers.*.timeout.total` | duration, over 0 | `10m` | In all, with retries. |",
        "| `providers.*.breaker.ratio` | share | `50%` | As `breaker.ratio`. |",
        (
            "| `tasks.*.strategy` | `ordered`, `weighted`, `round_robin`, `latency` or `cheapest` "
            "| `ordered` | As `models.*.strategy`. |"
        ),
        (
            "| `auth.service_keys` | list of secrets | none "
            "| Keys of internal services, sent as `X-Service-Key`. |"
        ),
        "| `models.*.targets` | list of sections | required | Where the name may go. |",
    ],
)
def test_a_line_of_the_page(line: str) -> None:
    assert line in (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").splitlines()


def test_headings_that_others_link_to_are_there() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    headings = {line[3:] for line in page.splitlines() if line.startswith("## ")}
    sections = {name for name in Config.model_fields if name != "drop_params"}
    assert headings == sections | {"How the sections nest"}


class Inner(BaseModel):
    wait: Annotated[Seconds, Field(gt=0)] = 90.0
    most: Bytes | None = None


class Outer(BaseModel):
    size: Bytes = 512 * 2**10
    part: Share = 0.25
    inner: Inner = Inner()
    named: dict[str, Inner] = {}


class Everything(BaseModel):
    one: Outer = Outer()


TEXTS = {
    "one.size": "How large.",
    "one.part": "How much.",
    "one.inner.wait": "How long.",
    "one.inner.most": "The most.",
}


def test_bounds_units_and_repeated_types(generator: Any) -> None:
    page = generator.written(Everything, {"one": "All."}, TEXTS)
    assert page.partition("## one\n")[2].partition(generator.TAIL)[0] == (
        "\nAll.\n\n"
        "| field | is | default | meaning |\n|---|---|---|---|\n"
        "| `one.size` | size | `512KiB` | How large. |\n"
        "| `one.part` | share | `25%` | How much. |\n"
        "| `one.inner.wait` | duration, over 0 | `90s` | How long. |\n"
        "| `one.inner.most` | size | none | The most. |\n"
        "| `one.named.*.wait` | duration, over 0 | `90s` | As `one.inner.wait`. |\n"
        "| `one.named.*.most` | size | none | As `one.inner.most`. |\n\n"
    )


@pytest.mark.parametrize(
    ("intros", "texts", "complaint"),
    [
        ({"one": "All."}, TEXTS | {"one.gone": "What was."}, "there is no one.gone any more"),
        ({"one": "", "two": ""}, TEXTS, "there is no two any more"),
        ({}, TEXTS, "INTROS has no one"),
        (
            {"one": ""},
            {path: text for path, text in TEXTS.items() if path != "one.part"},
            "TEXTS has no one.part",
        ),
    ],
)
def test_a_field_without_words_and_words_without_a_field(
    generator: Any, intros: dict[str, str], texts: dict[str, str], complaint: str
) -> None:
    with pytest.raises(generator.WordsMissing, match=complaint):
        generator.written(Everything, intros, texts)


def test_a_switch_at_the_top_stands_in_the_head(generator: Any) -> None:
    class Strange(BaseModel):
        strange: bool = False

    with pytest.raises(generator.WordsMissing, match="HEAD says nothing of strange"):
        generator.written(Strange, {}, {})


def test_the_server_loads_none_of_it(generator: Any) -> None:
    """The words cost the server nothing: no module of it names them."""
    files = [*(ROOT / "proxy").rglob("*.py"), *(ROOT / "adapters").rglob("*.py")]
    assert not [f for f in files if "configuration_texts" in Path(f).read_text(encoding="utf-8")]
