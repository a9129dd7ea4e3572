"""Tasks, pipelines, actions and backends in a configuration: what is shipped, and its faults."""

from pathlib import Path

import pytest

from proxy.config import Config, ConfigError, load
from proxy.prompts import render

BASE = "providers: {up: {dialect: openai, base_url: 'http://up.test/v1'}}\n"
FIFTEEN = {
    "suggest", "refine", "channels", "chat", "copilot_agent", "company_intel", "asset_master",
    "asset_channel_batch", "asset_adapt", "video_storyboard", "video_caption", "video_compliance",
    "image_prompt_generation", "image_generation", "image_caption",
}  # fmt: skip


def read(folder: Path, text: str) -> Config:
    path = folder / "config.yaml"
    path.write_text(BASE + text)
    return load(path, {})


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    return [f"{p.path}: {p.message}" for p in caught.value.problems]


@pytest.mark.parametrize("text", ["", "tasks: {mine: up/m}", "pipelines:\nactions:\nbackends:\n"])
def test_the_shipped_ones_are_there(tmp_path: Path, text: str) -> None:
    config = read(tmp_path, text)
    assert set(config.tasks) >= FIFTEEN
    assert list(config.pipelines) == ["generate_campaign_assets"]
    assert set(config.actions) == {
        "video_render",
        "video_caption_update",
        "video_create_manifest",
        "video_regenerate",
    }


def test_the_built_in_configuration_has_them_too() -> None:
    config = load(None, {})
    assert set(config.tasks) >= FIFTEEN
    assert config.backends == {}
    kinds = {name: config.tasks[name].usage_type for name in FIFTEEN}
    assert {name for name, kind in kinds.items() if kind == "image"} == {"image_generation"}
    videos = {"video_storyboard", "video_caption", "video_compliance"}
    assert {name for name, kind in kinds.items() if kind == "video"} == videos


@pytest.mark.parametrize("name", sorted(FIFTEEN))
def test_each_shipped_prompt_says_something_of_any_context(name: str) -> None:
    prompt = load(None, {}).tasks[name].prompt
    for context in ({}, {"prompt": "p"}, {"prompt": 7, "steps": {"a": 1}, "job": None}):
        said = render(prompt.system or "", context) + render(prompt.user or "", context)
        assert name == "image_generation" or len(said) > 100
        assert "{{" not in said


def test_names_are_replaced_one_by_one(tmp_path: Path) -> None:
    text = """
tasks: {suggest: up/m, video_cut: up/m, video_text: {targets: [up/m], usage_type: text}}
pipelines: {generate_campaign_assets: {steps: [{task: suggest}]}}
actions: {video_render: {path: /render, backend: mine}}
backends: {mine: {base_url: "http://mine.test"}}
"""
    config = read(tmp_path, text)
    assert config.tasks["suggest"].prompt.system is None
    assert config.tasks["refine"].prompt.system is not None
    assert config.tasks["video_cut"].usage_type == "video"
    assert config.tasks["video_text"].usage_type == "text"
    assert len(config.pipelines["generate_campaign_assets"].steps) == 1
    assert config.actions["video_render"].path == "/render"
    assert config.actions["video_regenerate"].backend == "video"


def test_a_task_takes_the_name_of_a_shipped_action_or_pipeline(tmp_path: Path) -> None:
    config = read(tmp_path, "tasks: {video_render: up/m, generate_campaign_assets: up/m}")
    assert "video_render" not in config.actions
    assert config.pipelines == {}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            "tasks:\n  a:\n    targets: [up/m]\n    prompt: {user: 'Hi {{ name'}",
            (
                "tasks.a.prompt.user: line 1 of the template: unexpected end of template, "
                "expected 'end of print statement'."
            ),
        ),
        (
            "tasks: {a: {targets: [up/m], prompt: {system: '{{ f() }}'}}}",
            "tasks.a.prompt.system: line 1 of the template: call is not for prompts",
        ),
        (
            "tasks: {a: {targets: [up/m], prompt: {usr: x}}}",
            'tasks.a.prompt.usr: unknown field; did you mean "user"?',
        ),
        (
            "tasks: {a: {targets: [up/m], shema: {}}}",
            'tasks.a.shema: unknown field; did you mean "schema"?',
        ),
        (
            "tasks: {a: {targets: [up/m], schema: {required: title}}}",
            "tasks.a.schema: must be a JSON schema: what is required is a list",
        ),
        (
            "tasks: {a: {targets: [up/m], endpoint: audio}}",
            "tasks.a.endpoint: Input should be 'chat' or 'images'",
        ),
        (
            "pipelines: {p: {steps: [{task: sugest}]}}",
            "pipelines.p.steps[0].task: there is no task 'sugest'; did you mean \"suggest\"?",
        ),
        (
            "pipelines: {p: {steps: [{task: chat}, {task: chat}]}}",
            "pipelines.p: two steps are named 'chat'; give one another name",
        ),
        ("pipelines: {p: {steps: []}}", "pipelines.p: must have 1 to 50 steps"),
        ("pipelines: {chat: {steps: [{task: chat}]}}", "pipelines.chat: a task has this name too"),
        (
            "actions: {a: {path: /a, backend: vdeo}}\nbackends: {video: {base_url: 'http://v'}}",
            "actions.a.backend: there is no backend 'vdeo'; did you mean \"video\"?",
        ),
        (
            "actions: {chat: {path: /a, backend: v}}\nbackends: {v: {base_url: 'http://v'}}",
            "actions.chat: a task or pipeline has this name too",
        ),
        (
            "backends: {v: {base_url: 'ftp://v'}}",
            "backends.v.base_url: must be an http or https URL",
        ),
    ],
)
def test_faults(tmp_path: Path, text: str, fault: str) -> None:
    assert fault in faults(tmp_path, text)


@pytest.mark.parametrize("place", ["a b", "a..b", ".a", "a.", "{{ a }}", "1a", ""])
@pytest.mark.parametrize("field", ["when", "each", "with"])
def test_places_are_names_with_dots(tmp_path: Path, field: str, place: str) -> None:
    value = f"{{x: '{place}'}}" if field == "with" else f"'{place}'"
    (fault,) = faults(tmp_path, f"pipelines: {{p: {{steps: [{{task: chat, {field}: {value}}}]}}}}")
    assert fault.startswith(f"pipelines.p.steps[0].{field}")
