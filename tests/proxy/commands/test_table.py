"""Tables line up."""

from proxy.commands.table import render


def test_columns_line_up() -> None:
    lines = render(("name", "n"), [("a", "1,000"), ("longer", "2")]).splitlines()
    assert lines == ["name        n", "──────  ─────", "a       1,000", "longer      2"]
