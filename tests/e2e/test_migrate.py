"""A LiteLLM configuration, converted and served: requests go where LiteLLM's would have gone."""

import re
from pathlib import Path

from proxy.__main__ import main
from tests.e2e.gateway import running
from tests.fakes import upstream as fake
from tests.fakes.upstream import Upstream

LITELLM = """
model_list:
  - model_name: chat
    litellm_params:
      model: openai/first-model
      api_base: {first}
      api_key: os.environ/FIRST_KEY
  - model_name: spare
    litellm_params:
      model: hosted_vllm/org/second-model
      api_base: {second}
      api_key: sk-second-in-clear
      extra_headers: {{x-team: blue}}
  - model_name: "any/*"
    litellm_params: {{model: "hosted_vllm/*", api_base: "{second}"}}
router_settings:
  num_retries: 0
  model_group_alias: {{old-name: chat}}
litellm_settings:
  fallbacks: [{{chat: [spare]}}]
general_settings:
  master_key: os.environ/TURNOUT_MASTER_KEY
"""
ENVIRON = {"FIRST_KEY": "sk-first-of-the-environment", "HOSTED_VLLM_API_KEY": "sk-second-set"}
HI = [{"role": "user", "content": "Hi"}]


def converted(folder: Path, text: str) -> str:
    """What the command itself writes."""
    source, out = folder / "litellm.yaml", folder / "turnout.yaml"
    source.write_text(text)
    assert main(["migrate", "litellm", str(source), "-o", str(out)]) == 0
    return out.read_text()


async def test_failover_as_it_was_meant(tmp_path: Path, up: Upstream, other: Upstream) -> None:
    text = converted(tmp_path, LITELLM.format(first=up.base_url, second=other.base_url))
    (name,) = set(
        re.findall(r"set ([A-Z_]+_KEY)", text.replace("\n#   ", " "))
    )  # what its head says is to be done
    async with running(tmp_path, text, ENVIRON | {name: "sk-second-set"}) as gateway:
        well = await gateway.post({"model": "chat", "messages": HI})
        assert well.status == 200
        assert [sent.json["model"] for sent in up.log] == ["first-model"]
        assert up.log[0].header("authorization") == "Bearer sk-first-of-the-environment"
        assert other.log == []

        up.script(fake.error_reply(500))
        for asked in ("chat", "old-name"):
            saved = await gateway.post({"model": asked, "messages": HI})
            assert saved.status == 200, (saved.body, text)
            assert saved.headers["x-turnout-attempts"] == "2"
        assert len(up.log) == 3
        assert [sent.json["model"] for sent in other.log] == ["org/second-model"] * 2
        assert other.log[0].header("authorization") == "Bearer sk-second-set"
        assert other.log[0].header("x-team") == "blue"

        # `spare` has no fallback of its own, and nothing else is named in LiteLLM's file.
        other.script(fake.error_reply(500))
        assert (await gateway.post({"model": "spare", "messages": HI})).status >= 500
        assert len(up.log) == 3
        assert (await gateway.post({"model": "unheard-of", "messages": HI})).status == 404


async def test_a_wildcard_sends_on_the_name(tmp_path: Path, up: Upstream, other: Upstream) -> None:
    text = converted(tmp_path, LITELLM.format(first=up.base_url, second=other.base_url))
    async with running(tmp_path, text, ENVIRON) as gateway:
        answer = await gateway.post({"model": "any/deep/model-7", "messages": HI})
        assert answer.status == 200, answer.body
        assert other.log[0].json["model"] == "deep/model-7"
        assert other.log[0].header("authorization") is None
