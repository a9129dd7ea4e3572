"""One place for all the LLM calls of an application: the OpenAI SDK, pointed at Turnout.

    export OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_API_KEY=sk-turnout-…

What such a wrapper usually does itself is Turnout's business: the log of every call, retries, other
providers when one fails, limits a minute and a day, the cache, the price. So all that is left here
is to say who asks (`user`) and for which service (`metadata`); both are columns of the ledger.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import openai

MODEL = "openai/gpt-oss-20b"


class LLMWrapper:
    """Chat completions through Turnout. `client` is made of the environment when none is given."""

    def __init__(self, client: openai.AsyncOpenAI | None = None) -> None:
        self._client = client

    @property
    def client(self) -> openai.AsyncOpenAI:
        if self._client is None:
            self._client = openai.AsyncOpenAI(max_retries=0)  # Turnout tries again itself
        return self._client

    async def chat_completion(
        self,
        messages: Sequence[Mapping[str, Any]],
        user_id: str,
        service_name: str,
        model: str = MODEL,
        temperature: float = 0.7,
        max_tokens: int = 1000,
        metadata: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """`{"response": the completion, "usage": {prompt_tokens, completion_tokens, …}}`.

        Raises what the SDK raises: `openai.RateLimitError` when a limit is reached, say.
        """
        response = await self.client.chat.completions.create(
            **self._asked(messages, user_id, service_name, model, metadata),
            temperature=temperature,
            max_tokens=max_tokens,
            **more,
        )
        usage = response.usage
        return {
            "response": response,
            "usage": {
                "prompt_tokens": usage.prompt_tokens if usage else 0,
                "completion_tokens": usage.completion_tokens if usage else 0,
                "total_tokens": usage.total_tokens if usage else 0,
            },
        }

    async def chat_stream(
        self,
        messages: Sequence[Mapping[str, Any]],
        user_id: str,
        service_name: str,
        model: str = MODEL,
        metadata: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> AsyncIterator[str]:
        """The text of the answer as it comes. One that breaks off raises `openai.APIError`."""
        asked = self._asked(messages, user_id, service_name, model, metadata)
        stream = await self.client.chat.completions.create(**asked, stream=True, **more)
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content

    def _asked(
        self,
        messages: Sequence[Mapping[str, Any]],
        user_id: str,
        service_name: str,
        model: str,
        metadata: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        labels = {name: _label(value) for name, value in (metadata or {}).items()}
        return {
            "model": model,
            "messages": list(messages),
            "user": user_id,
            "metadata": {**labels, "service_name": service_name},
        }


def _label(value: Any) -> Any:
    """Numbers and truth values stay what they are; all else is text."""
    return value if isinstance(value, int | float | bool) else str(value)


llm_wrapper = LLMWrapper()
