"""What templates say, and that they reach nothing but data."""

import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.prompts import (
    FILTERS,
    OUTPUT_LIMIT,
    SOURCE_LIMIT,
    PromptError,
    checked,
    compiled,
    find,
    render,
)

PAYLOADS = [
    "{{ 7*7 }}",
    "{{7*'7'}}",
    "{{ config }}",
    "{{ config.items() }}",
    "{{ self }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context.cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ [].__class__.__base__.__subclasses__() }}",
    "{{ ().__class__.__bases__[0].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ joiner.__init__.__globals__.os.popen('id').read() }}",
    "{{ namespace.__init__.__globals__.os.popen('id').read() }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ lipsum.__globals__.__builtins__.open('/etc/passwd').read() }}",
    "{{ request.application.__globals__.__builtins__.__import__('os').popen('id').read() }}",
    "{{ get_flashed_messages.__globals__.__builtins__.open('/etc/passwd').read() }}",
    "{{ url_for.__globals__.os }}",
    "{{ ''|attr('__class__')|attr('__mro__') }}",
    "{{ ''['__cla' ~ 'ss__'] }}",
    "{{ prompt|attr(['_'*2,'class','_'*2]|join) }}",
    "{{ prompt.format.__self__ }}",
    "{{ '{0.__class__}'.format(prompt) }}",
    "{{ '%s'|format(prompt) }}",
    "{{ ['id']|map('upper') }}",
    "{{ dict(a=1) }}",
    "{{ range(10**9)|list }}",
    "{{ 'a' * 10**9 }}",
    "{{ 10**10**10 }}",
    "{% for c in [].__class__.__base__.__subclasses__() %}{{ c }}{% endfor %}",
    "{% import 'os' as os %}{{ os.popen('id') }}",
    "{% from 'x' import y %}",
    "{% include '/etc/passwd' %}",
    "{% extends '/etc/passwd' %}",
    "{% set x = cycler.__init__ %}{{ x.__globals__ }}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}",
    "{% call(x) m() %}{% endcall %}",
    "{% filter upper %}{{ prompt }}{% endfilter %}",
    "{% with a=prompt.__class__ %}{{ a }}{% endwith %}",
    "{% block x %}{{ self.x() }}{% endblock %}",
    "{% autoescape true %}{{ prompt }}{% endautoescape %}",
    "{% for x in prompt recursive %}{{ loop(x) }}{% endfor %}",
    "{{ loop.__init__.__globals__ }}",
    "{% for x in items %}{{ loop.__init__.__globals__ }}{{ loop.cycle }}{{ loop }}{% endfor %}",
    "{{ prompt.__init__ }}",
    "{{ prompt['__class__'] }}",
    "{{ items.append }}",
    "{{ items['__class__'] }}",
    "{{ data.__class__ }}",
    "{{ data.keys }}",
    "{{ data['__class__']['__mro__'] }}",
    "{{ missing.__class__.__mro__ }}",
    "{{ environment }}{{ resolve }}{{ caller }}{{ varargs }}{{ __builtins__ }}{{ __import__ }}",
    "${7*7}",
    "#{7*7}",
    "<%= 7*7 %>",
    "{# comment #}",
]
"""Ways into servers by their templates, as they are known."""

LEAKS = (
    "class",
    "object at 0x",
    "root:",
    "uid=",
    "built-in",
    "method",
    "49",
    "7777777",
    "<module",
    "Loop",
    "Template",
)


class TestSaying:
    @pytest.mark.parametrize(
        ("source", "text"),
        [
            ("Write about {{ job.title }}.", "Write about Welder."),
            ("{{ context.job.title }}", "Welder"),
            ("{{ tags[0] }}, {{ tags[-1] }}, {{ tags[7] }}", "new, warm,"),
            ("{% for t in tags %}{{ loop.index }}={{ t }};{% endfor %}", "1=new;2=warm;"),
            ("{% for k in job %}{{ k }}:{{ job[k] }} {% endfor %}", "title:Welder pay:12.5"),
            ("{% if pay is defined %}a{% else %}b{% endif %}", "b"),
            ("{% if job is mapping and tags is list %}a{% endif %}", "a"),
            ("{{ nothing.at.all }}|{{ none }}|{{ empty }}", "||"),
            ("{{ flag }} {{ job.pay }}", "true 12.5"),
            ("{{ job }}", '{"title":"Welder","pay":12.5}'),
            ("{{ tags | json }} {{ nothing | json }}", '["new","warm"] null'),
            ("{{ tags | join(' & ') }}", "new & warm"),
            ("{{ nothing | default(empty) | default('third') }}", "third"),
            ("{{ job | without('pay') | json }}", '{"title":"Welder"}'),
            ("{{ job.title | upper | truncate(4) }}", "WEL…"),
            ("{{ tags | length }}{{ tags | first }}{{ tags | last | trim | lower }}", "2newwarm"),
            ("{{ 'a' + job.title }}", "aWelder"),
            ("{{ 'x' if 'new' in tags else 'y' }}", "x"),
        ],
    )
    def test_a_template_says(self, source: str, text: str) -> None:
        data = {
            "job": {"title": "Welder", "pay": 12.5},
            "tags": ["new", "warm"],
            "flag": True,
            "none": None,
            "empty": "",
        }
        assert render(source, data) == text

    def test_members_win_over_the_methods_of_a_mapping(self) -> None:
        assert render("{{ d.items }} {{ d.keys }}", {"d": {"items": 3}}) == "3"

    def test_lines_of_statements_leave_no_lines_behind(self) -> None:
        assert render("a\n  {% if x %}\n  b\n  {% endif %}\nc", {"x": 1}) == "a\n  b\nc"


class TestNothingButData:
    @pytest.mark.parametrize("payload", PAYLOADS)
    def test_a_value_is_never_a_template(self, payload: str) -> None:
        data = {"prompt": payload, "deep": {"list": [payload]}, payload: 1}
        assert render("<{{ prompt }}|{{ deep.list[0] }}>", data) == f"<{payload}|{payload}>"

    @pytest.mark.parametrize("payload", PAYLOADS)
    def test_a_hostile_template_gets_nowhere(self, payload: str) -> None:
        data = {"prompt": "p", "items": ["i"], "data": {"k": "v"}}
        try:
            said = render(payload, data)
        except PromptError:
            return
        literal = ("${7*7}", "#{7*7}", "<%= 7*7 %>")
        assert said in literal or not any(leak in said for leak in LEAKS), said

    @given(st.text())
    @example("{{ 7*7 }}{% raw %}{#")
    @example("{% endraw %}")
    def test_any_text_comes_through_as_it_is(self, text: str) -> None:
        assert render("<{{ prompt }}>", {"prompt": text}) == f"<{text}>"

    @given(st.text(alphabet="{}%#|.()[]_'\" abc1*+~-", max_size=40))
    def test_any_template_is_rendered_or_refused(self, source: str) -> None:
        try:
            said = render(source, {"a": "A", "b": {"c": [1]}})
        except PromptError:
            return
        assert isinstance(said, str)

    def test_no_filter_is_jinjas_own(self) -> None:
        assert sorted(FILTERS) == [
            "default",
            "first",
            "join",
            "json",
            "last",
            "length",
            "lower",
            "trim",
            "truncate",
            "upper",
            "without",
        ]


class TestBounds:
    @pytest.mark.parametrize(
        ("source", "words"),
        [
            ("{% for a in l %}{% for b in l %}{% endfor %}{% endfor %}", "rounds"),
            ("{% for a in l %}{{ big }}{% endfor %}", "characters"),
            ("{{ l | join(big) }}", "characters"),
            ("{{ huge + huge }}", "long"),
            ("{{ [huge] | json }}", "characters"),
            ("{{ deep | json }}", "levels"),
        ],
    )
    def test_what_has_no_end_is_stopped(self, source: str, words: str) -> None:
        deep: Any = 1
        for _ in range(900):
            deep = [deep]
        big = "x" * 50_000
        data = {"l": [0] * 1000, "big": big, "huge": "x" * (OUTPUT_LIMIT + 1), "deep": deep}
        began = time.monotonic()
        with pytest.raises(PromptError, match=words):
            render(source, data)
        assert time.monotonic() - began < 3

    def test_long_searches_are_stopped(self) -> None:
        data = {"l": list(range(90_000)), "m": [1.5] * 200_000}
        with pytest.raises(PromptError, match="longer than"):
            render("{% for a in l %}{% if a in m %}x{% endif %}{% endfor %}", data)

    def test_a_wrong_type_is_told_without_the_data(self) -> None:
        with pytest.raises(PromptError) as caught:
            render("{{ a + 1 }}", {"a": "secret"})
        assert "secret" not in str(caught.value)


class TestFaults:
    @pytest.mark.parametrize(
        ("source", "words"),
        [
            ("a\n{{ x", "line 2 of the template: unexpected end"),
            ("{% if x %}", "line 1 of the template: Unexpected end of template"),
            ("{{ x | nope }}", "no filter named 'nope'; there are default, first"),
            ("{% if a %}{{ x | map }}{% endif %}", "no filter named 'map'"),
            ("{{ x is nope }}", "no test named 'nope'"),
            ("{{ f() }}", "line 1 of the template: call is not for prompts"),
            ("\n\n{% set x = 1 %}", "line 3 of the template: assign is not for prompts"),
            ("{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}", "nested too deeply"),
            ("{% for a in b %}" * 40 + "{% endfor %}" * 40, "nested too deeply"),
            ("x" * (SOURCE_LIMIT + 1), "65536 characters at most"),
            ("{% for context in l %}{% endfor %}", "'context'"),
        ],
    )
    def test_a_template_that_can_not_be(self, source: str, words: str) -> None:
        with pytest.raises(PromptError) as caught:
            compiled(source)
        assert words in str(caught.value)
        with pytest.raises(ValueError, match=r"template|prompts"):
            checked(source)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a", {"b": [1, {"c": 2}]}),
        ("a.b.1.c", 2),
        ("a.b.7", None),
        ("a.b.-1", None),
        ("a.b.x", None),
        ("z.y", None),
        ("a.keys", None),
        ("s.0", None),
    ],
)
def test_find(path: str, found: object) -> None:
    assert find({"a": {"b": [1, {"c": 2}]}, "s": "text"}, path) == found
