"""docs/recordings.md says what the recordings and the tests say."""

from pathlib import Path

from tests.adapters.recordings_table import answers, document, requests
from tests.recordings import recordings

DOCUMENT = Path(__file__).parents[2] / "docs" / "recordings.md"


def test_the_document_is_up_to_date() -> None:
    assert document() in DOCUMENT.read_text(encoding="utf-8")


def test_every_name_in_it_is_a_recording() -> None:
    known = {recording.id for recording in recordings()}
    assert requests().keys() <= known
    assert answers().keys() <= known
    assert len(answers()) > 20
