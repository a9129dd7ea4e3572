"""Forms with files: read and changed in their bytes, against the email package's parser."""

from email import message_from_bytes
from email.policy import HTTP
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.multipart import boundary_of, read_fields, replace_field

B = b"----WebKitFormBoundary7MA4YWxk"
TYPE = "multipart/form-data; boundary=" + B.decode()


class Field(NamedTuple):
    """A part of a form; one with a file name is a file."""

    name: str
    value: bytes
    filename: str | None = None


def form(fields: list[Field], boundary: bytes = B) -> bytes:
    """A body as browsers and the SDKs write it."""
    out = b""
    for field in fields:
        out += b"--" + boundary + b"\r\n"
        out += b'Content-Disposition: form-data; name="%b"' % field.name.encode()
        if field.filename is not None:
            out += b'; filename="%b"\r\n' % field.filename.encode()
            out += b"Content-Type: application/octet-stream"
        out += b"\r\n\r\n" + field.value + b"\r\n"
    return out + b"--" + boundary + b"--\r\n"


def by_email(raw: bytes, content_type: str = TYPE) -> list[Field]:
    """The same parts, as the standard library reads them."""
    head = b"Content-Type: " + content_type.encode() + b"\r\n\r\n"
    parsed = message_from_bytes(head + raw, policy=HTTP)
    found = []
    for part in parsed.iter_parts():
        disposition = part["content-disposition"]
        value = part.get_payload(decode=True)
        assert isinstance(value, bytes)
        params = disposition.params
        found.append(Field(params["name"], value, params.get("filename")))
    return found


def text_of(fields: list[Field]) -> dict[str, str]:
    """The text fields of parts, the first of each name."""
    found: dict[str, str] = {}
    for field in fields:
        if field.filename is None:
            found.setdefault(field.name, field.value.decode(errors="replace"))
    return found


AUDIO = b"RIFF\x00\xff\r\n\r\n\x89PNG\r\n--\r\n\x00"
USUAL = [
    Field("model", b"whisper-1"),
    Field("file", AUDIO, "a.wav"),
    Field("language", b"de"),
    Field("response_format", b"verbose_json"),
    Field("timestamp_granularities[]", b"word"),
    Field("timestamp_granularities[]", b"segment"),
]


class TestBoundary:
    @pytest.mark.parametrize(
        ("content_type", "boundary"),
        [
            ("multipart/form-data; boundary=abc", b"abc"),
            ("multipart/form-data;boundary=abc", b"abc"),
            ('multipart/form-data; boundary="abc"', b"abc"),
            ('multipart/form-data; boundary="a b;c=d"', b"a b;c=d"),
            ("Multipart/Form-Data; Boundary=AbC", b"AbC"),
            ("multipart/form-data; charset=utf-8; boundary=abc", b"abc"),
            ("multipart/form-data; boundary=abc; charset=utf-8", b"abc"),
            ("multipart/form-data; boundary=----x'()+_,-./:=?", b"----x'()+_,-./:=?"),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ('multipart/form-data; boundary=""', None),
            ("multipart/mixed; boundary=abc", None),
            ("application/json", None),
            ("application/json; x=multipart/form-data; boundary=abc", None),
            ("", None),
        ],
    )
    def test_of_a_content_type(self, content_type: str, boundary: bytes | None) -> None:
        assert boundary_of(content_type) == boundary

    def test_another_parameter_that_ends_so_is_another(self) -> None:
        """Read otherwise than upstream, a form could show two models."""
        assert boundary_of("multipart/form-data; xboundary=a; boundary=b") == b"b"
        assert boundary_of('multipart/form-data; x="boundary=a"; boundary=b') == b"b"


class TestFields:
    def test_text_is_read_and_files_are_left_out(self) -> None:
        assert read_fields(form(USUAL), B) == {
            "model": "whisper-1",
            "language": "de",
            "response_format": "verbose_json",
            "timestamp_granularities[]": "word",
        }

    def test_the_first_of_two_counts(self) -> None:
        assert read_fields(form([Field("a", b"1"), Field("a", b"2")]), B) == {"a": "1"}

    def test_empty_values_and_line_breaks_stay(self) -> None:
        fields = [Field("a", b""), Field("b", b"\r\n"), Field("c", b" x\r\n\r\ny ")]
        assert read_fields(form(fields), B) == {"a": "", "b": "\r\n", "c": " x\r\n\r\ny "}

    def test_unicode(self) -> None:
        raw = form([Field("ä", "日本 😀".encode()), Field("b", b"\xff")])
        assert read_fields(raw, B) == {"ä": "日本 😀", "b": "\ufffd"}

    @pytest.mark.parametrize("filename", [b'filename="a.wav"', b"filename*=UTF-8''a.wav"])
    def test_a_file_by_each_spelling_of_its_name(self, filename: bytes) -> None:
        raw = form([Field("model", b"m"), Field("x", b"1")])
        raw = raw.replace(b'name="x"', b'name="x"; ' + filename)
        assert read_fields(raw, B) == {"model": "m"}

    def test_headers_in_any_case_and_order(self) -> None:
        head = b"content-type: text/plain\r\nCONTENT-DISPOSITION: form-data; NAME="
        raw = b"--" + B + b"\r\n" + head + b'"model"\r\n\r\nm\r\n--' + B + b"--"
        assert read_fields(raw, B) == {"model": "m"}

    def test_another_headers_name_is_not_the_fields(self) -> None:
        head = b'Content-Type: text/plain; name="x"\r\nContent-Disposition: form-data; name='
        raw = b"--" + B + b"\r\n" + head + b'"model"\r\n\r\nm\r\n--' + B + b"--"
        assert text_of(by_email(raw)) == {"model": "m"}
        assert read_fields(raw, B) == {"model": "m"}

    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b"x",
            b"--" + B,
            b"--" + B + b"--\r\n",
            b"--" + B + b"\r\n\r\n\r\n--" + B + b"--",
            b"--" + B + b'\r\nContent-Disposition: form-data; name="model"',
            b"--" + B + b'\r\nContent-Disposition: form-data; name="model"\r\n\r\nm',
            b"--other\r\n" + form(USUAL).split(b"\r\n", 1)[1][:60],
        ],
    )
    def test_a_broken_form_has_none(self, raw: bytes) -> None:
        assert read_fields(raw, B) == {}
        assert replace_field(raw, B, "model", "n") == raw


class TestReplace:
    def test_only_the_models_bytes_change(self) -> None:
        raw = form(USUAL)
        out = replace_field(raw, B, "model", "gpt-4o-transcribe-ä")
        assert out == raw.replace(b"whisper-1", "gpt-4o-transcribe-ä".encode(), 1)

    def test_a_shorter_an_empty_and_the_same_one(self) -> None:
        raw = form(USUAL)
        for value in ("w", "", "whisper-1"):
            out = replace_field(raw, B, "model", value)
            assert by_email(out)[0] == Field("model", value.encode())
            assert by_email(out)[1:] == USUAL[1:]

    def test_all_of_that_name_change(self) -> None:
        raw = form([Field("model", b"a"), Field("x", b"a"), Field("model", b"bb")])
        out = replace_field(raw, B, "model", "new")
        assert by_email(out) == [Field("model", b"new"), Field("x", b"a"), Field("model", b"new")]

    def test_a_name_that_is_not_there(self) -> None:
        assert replace_field(form(USUAL), B, "prompt", "x") == form(USUAL)

    @pytest.mark.parametrize(
        "content",
        [
            b'Content-Disposition: form-data; name="model"\r\n\r\nevil',
            b'\r\n--other\r\nContent-Disposition: form-data; name="model"\r\n\r\nevil\r\n--other--',
            b"\r\n--" + B[:-1] + b'\r\nContent-Disposition: form-data; name="model"\r\n\r\nevil',
            b"\n" + B + b'\r\nContent-Disposition: form-data; name="model"\r\n\r\nevil',
            b"\r\n--\r\n\r\n--",
            b"\r\n--"
            + B
            + b'x\r\nContent-Disposition: form-data; name="model"\r\n\r\nevil\r\n--'
            + B
            + b"x",
        ],
        ids=["headers", "other boundary", "shorter boundary", "no dashes", "dashes", "longer"],
    )
    @pytest.mark.parametrize("model_first", [True, False])
    def test_what_stands_in_a_file_stays(self, content: bytes, model_first: bool) -> None:
        fields = [Field("model", b"m"), Field("file", b"RIFF" + content, "a.wav")]
        raw = form(fields if model_first else fields[::-1])
        assert sorted(by_email(raw)) == sorted(fields)
        assert read_fields(raw, B) == {"model": "m"}
        out = replace_field(raw, B, "model", "other")
        assert b"RIFF" + content + b"\r\n--" in out
        assert len(out) == len(raw) + len("other") - len("m")


NAMES = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=6)
VALUES = st.binary(max_size=60) | st.sampled_from(
    [b"\r\n", b"--", b"\r\n\r\n", b'name="model"', B, b"\r\n--" + B[:-2]]
)
FIELDS = st.lists(
    st.builds(
        Field,
        st.sampled_from(["model", "file", "language"]) | NAMES,
        VALUES,
        st.none() | st.just("a.wav"),
    ),
    min_size=1,
    max_size=6,
)


@given(FIELDS, st.sampled_from([b"b", b"----x'()+_,-./:=?", B]))
def test_generated_forms_are_read_as_they_were_written(
    fields: list[Field], boundary: bytes
) -> None:
    fields = [f for f in fields if b"--" + boundary not in f.value]
    raw = form(fields, boundary)
    content_type = f'multipart/form-data; boundary="{boundary.decode()}"'
    assert boundary_of(content_type) == boundary
    if not fields:
        return
    assert by_email(raw, content_type) == fields
    assert read_fields(raw, boundary) == text_of(fields)
    expected = [
        field._replace(value=b"NEW") if field.name == "model" and field.filename is None else field
        for field in fields
    ]
    assert replace_field(raw, boundary, "model", "NEW") == form(expected, boundary)
