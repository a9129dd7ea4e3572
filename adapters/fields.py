"""The members of a request's body, read by a dialect that has to translate each of them.

Whoever takes a member answers for it. What nobody took is refused by name, or, with
`drop_params`, left out and listed: a parameter is never lost in silence.
"""

from typing import Any

from adapters.base import Ask, Failure, FailureKind, Retry, Target, UpstreamFailure

OWN = frozenset({"model", "messages", "stream", "stream_options"})
"""Members that every dialect says in its own way; they are not parameters."""

HINTS = frozenset(
    {"user", "metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"}
)
"""Members that label a call or help a provider's own cache: without them the answer is the same."""

DEFAULTS: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logit_bias": ({},),
    "parallel_tool_calls": (True,),
    "store": (False,),
    "service_tier": ("auto", "default"),
    "modalities": (["text"],),
    "verbosity": ("medium",),
    "tools": ([],),
    "tool_choice": ("auto", "none"),
    "response_format": ({"type": "text"},),
}
"""Values that say what would happen anyway."""


class Fields:
    """One request's members, each to be taken once; `close` when all that can be said is."""

    def __init__(self, ask: Ask, target: Target) -> None:
        given = {**ask.body, **ask.defaults}
        self._left = {
            name: value
            for name, value in given.items()
            if value is not None and name not in OWN and name not in ask.drop
        }
        self._target = target
        self._drops = ask.drop_params or target.drop_params
        self._refused: list[str] = []

    def take(self, name: str) -> Any:
        """A member's value; None when it is absent or null."""
        return self._left.pop(name, None)

    def peek(self, name: str) -> Any:
        """A member's value, which somebody else will take."""
        return self._left.get(name)

    def first(self, *names: str) -> Any:
        """The first of several names for one thing that has a value; all are taken."""
        found = [self.take(name) for name in names]
        return next((value for value in found if value is not None), None)

    def refuse(self, name: str) -> None:
        """`name` has a value here that the dialect can't say."""
        self._refused.append(name)

    def close(self) -> tuple[str, ...]:
        """What is left out. Raises `UpstreamFailure` naming it, unless `drop_params` allows it."""
        for name, value in self._left.items():
            if name not in HINTS and not is_default(name, value):
                self._refused.append(name)
        refused = tuple(dict.fromkeys(self._refused))
        if refused and not self._drops:
            raise UpstreamFailure(refusal(refused, self._target))
        return refused


def is_default(name: str, value: Any) -> bool:
    """Whether a member asks for what would happen anyway."""
    return value is None or value in DEFAULTS.get(name, ())


def refusal(names: tuple[str, ...], target: Target) -> Failure:
    """Members that a target has no words for; another one may."""
    listed = ", ".join(names)
    message = (
        f"the {target.dialect} dialect of {target.provider}/{target.model} has nothing that means "
        f"{listed}; leave it out, or allow that with drop_params: true"
    )
    return Failure(
        FailureKind.UNSUPPORTED,
        message,
        Retry.NEXT_TARGET,
        status=400,
        code="unsupported_parameter",
        param=names[0],
    )


def invalid(param: str, message: str) -> UpstreamFailure:
    """A request that is wrong in itself, whatever the target: the client's to mend."""
    failure = Failure(
        FailureKind.INVALID_REQUEST,
        f"{param} {message}",
        Retry.NEVER,
        status=400,
        code="invalid_value",
        param=param,
    )
    return UpstreamFailure(failure)


def unsupported(param: str, message: str) -> UpstreamFailure:
    """A request that this target can't take, and another may."""
    failure = Failure(
        FailureKind.UNSUPPORTED,
        f"{param} {message}",
        Retry.NEXT_TARGET,
        status=400,
        code="unsupported_parameter",
        param=param,
    )
    return UpstreamFailure(failure)
