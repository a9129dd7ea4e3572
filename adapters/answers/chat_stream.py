"""The deltas of a chat's choice, put together into its message."""

from typing import Any

from adapters.answers.base import NotWhole, objects
from adapters.answers.chunks import Held
from adapters.base import JsonObject

_WORDS = ("content", "refusal", "reasoning_content", "reasoning")

_DETAIL = ("text", "summary", "data")
_THOUGHT = ("thinking", "signature")


class HeldMessage(Held):
    """A choice's message as far as it has come.

    A member that is not known here must come once, or always the same: how pieces of it would
    go together nobody could say.
    """

    spoken = "delta"
    word = "content"

    def __init__(self) -> None:
        super().__init__()
        self._role = "assistant"
        self._words: dict[str, list[str]] = {name: [] for name in _WORDS}
        self._thinking: list[dict[str, Any]] = []
        self._details: list[dict[str, Any]] = []
        self._calls: dict[int, list[dict[str, Any]]] = {}  # by number; some number all of them 0
        self._annotations: list[Any] = []
        self._rest: dict[str, Any] = {}

    def hear(self, value: Any) -> None:
        for name, new in (value or {}).items():
            if new is None:
                continue
            if name in self._words:
                self._words[name].append(_string(new))
            elif name == "role":
                self._role = new or self._role
            elif name == "tool_calls":
                for piece in objects(new):
                    self._call(piece)
            elif name == "thinking_blocks":
                for block in objects(new):
                    self._think(block)
            elif name == "reasoning_details":
                for detail in objects(new):
                    self._detail(detail)
            elif name == "annotations":
                self._annotations += new
            elif new != "" and self._rest.setdefault(name, new) != new:
                raise NotWhole(f"{name} comes in pieces")

    def append(self, words: str) -> None:
        self._words["content"].append(words)

    def words_alone(self, choice: JsonObject) -> str | None:
        match choice:
            case {"delta": {"content": str(words), **others}, **rest} if not others:
                return None if any(rest[name] for name in rest.keys() - {"index"}) else words
            case _:
                return None

    def said(self) -> dict[str, Any]:
        words = {name: "".join(pieces) for name, pieces in self._words.items()}
        calls = [call for _, group in sorted(self._calls.items()) for call in group]
        has_text = bool(words["content"]) or not (calls or words["refusal"])
        message: dict[str, Any] = {
            "role": self._role,
            "content": words["content"] if has_text else None,
            "refusal": words["refusal"] or None,
        }
        others = {
            "reasoning_content": words["reasoning_content"],
            "reasoning": words["reasoning"],
            "thinking_blocks": [_without_number(block) for block in self._thinking],
            "reasoning_details": self._details,
            "tool_calls": calls,
            "annotations": self._annotations,
        }
        message |= {name: value for name, value in others.items() if value}
        return {"message": message | self._rest}

    def _call(self, piece: JsonObject) -> None:
        """A piece of a call. One number with another id is another call."""
        group = self._calls.setdefault(int(piece.get("index") or 0), [])
        given, function = piece.get("id"), piece.get("function") or {}
        if not group or (given and group[-1]["id"] not in (None, given)):
            function_begun = {"name": "", "arguments": ""}
            group.append({"id": None, "type": "function", "function": function_begun})
        call = group[-1]
        call["id"] = call["id"] or given
        call["function"]["name"] = call["function"]["name"] or _string(function.get("name") or "")
        call["function"]["arguments"] += _string(function.get("arguments") or "")
        if piece.get("type") not in (None, "", "function"):
            raise NotWhole("a call of another kind")
        for name in piece.keys() - {"index", "id", "type", "function"}:
            if piece[name] is not None and call.setdefault(name, piece[name]) != piece[name]:
                raise NotWhole(f"a call's {name} comes in pieces")

    def _think(self, block: JsonObject) -> None:
        """A block of thought, or a piece of one: pieces share a number, or, where they have none,
        follow each other up to the one that is signed."""
        last = self._thinking[-1] if self._thinking else {}
        goes_on = block.get("index") == last.get("index") and (
            block.get("type") == last.get("type") == "thinking"
        )
        if goes_on and ("index" in block or not last.get("signature")):
            _extend(last, block, _THOUGHT)
        else:
            self._thinking.append({k: v for k, v in block.items() if v is not None})

    def _detail(self, detail: JsonObject) -> None:
        """OpenRouter's thought: pieces share a number and a type."""
        last = self._details[-1] if self._details else {}
        same = [detail.get(name) == last.get(name) for name in ("index", "type")]
        if all(same) and "index" in detail:
            _extend(last, detail, _DETAIL)
        else:
            self._details.append(dict(detail))


def _extend(last: dict[str, Any], piece: JsonObject, words: tuple[str, ...]) -> None:
    for name, value in piece.items():
        if name in words and isinstance(value, str):
            last[name] = (last.get(name) or "") + value
        elif value is not None:
            last[name] = value


def _without_number(block: JsonObject) -> dict[str, Any]:
    return {name: value for name, value in block.items() if name != "index"}


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise NotWhole("words that are no text")
    return value
