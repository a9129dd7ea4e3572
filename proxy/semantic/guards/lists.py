"""Word lists as text: shorter to read and to change than lists of strings."""


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


def lines(text: str) -> list[str]:
    """The lines of a text; what is indented goes on with the line before."""
    return text.strip().replace("\n    ", " ").splitlines()
