"""A LiteLLM configuration of a test, converted and loaded as `turnout serve` would load it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from proxy.config import Config, load
from proxy.migration import litellm, source


@dataclass(frozen=True)
class Conversion:
    """What came of it. `told` has the findings as they are printed."""

    config: Config
    text: str
    told: list[str]

    def targets(self, name: str) -> list[str]:
        return [entry.target for entry in self.config.models[name].targets]

    def weights(self, name: str) -> list[float]:
        return [entry.weight for entry in self.config.models[name].targets]

    def says(self, *words: str) -> bool:
        """Whether one finding has all of these words."""
        return any(all(word in line for word in words) for line in self.told)


def converted(folder: Path, text: str, environ: Mapping[str, str] | None = None) -> Conversion:
    """The configuration made of `text`; with no variable set unless some are given."""
    path = folder / "litellm.yaml"
    path.write_text(text, encoding="utf-8")
    made = litellm.convert(source.read(path), path.name)
    out = folder / "config.yaml"
    out.write_text(made.text, encoding="utf-8")
    return Conversion(load(out, environ or {}), made.text, [str(one) for one in made.findings])
