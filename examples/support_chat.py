"""A support chat for people with accounts: /v2, with conversations and streamed answers.

    turnout users create --email you@example.com         # asks for a password
    export TURNOUT_EMAIL=you@example.com TURNOUT_PASSWORD=…
    python examples/support_chat.py                      # a question a line, until Ctrl-D
    python examples/support_chat.py "Where is my parcel?" "And if nobody is at home?"

It shows that
- a login gives a token, and the token is all that the chat needs;
- the answer is OpenAI's event stream, so the OpenAI SDK reads it, pointed at `/v2/llm`;
- Turnout keeps the conversation: only what is new is sent, with its id (a turn is kept a moment
  after its last word, so a program that is quicker than people looks whether it is);
- everybody sees the own bill.

Needs OPENAI_BASE_URL, TURNOUT_EMAIL and TURNOUT_PASSWORD.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import openai
from connection import TIMEOUT, Trouble, answer_of, gateway, root, run, setting

SERVICE = "support_chat"
BEHAVIOUR = "You are the support of a parcel service. Answer in one or two short sentences."


def log_in() -> str:
    """A token for the account of the environment. Raises `Trouble`."""
    form = {"username": setting("TURNOUT_EMAIL"), "password": setting("TURNOUT_PASSWORD")}
    with gateway() as client:
        return str(answer_of(client.post("/v2/login/access-token", data=form))["access_token"])


class Chat:
    """One conversation. `place` is its id, None before the first answer."""

    def __init__(self, client: openai.OpenAI, **asked: Any) -> None:
        self.place: str | None = None
        self._client = client
        self._asked = asked

    def say(self, question: str) -> Iterator[str]:
        """The answer as it comes. What breaks off raises `openai.APIError`, and is not kept."""
        new = [{"role": "user", "content": question}]
        if self.place is None:
            new.insert(0, {"role": "system", "content": BEHAVIOUR})
        told = self._client.chat.completions.with_raw_response.create(
            messages=new,
            stream=True,
            extra_body={"conversation_id": self.place} if self.place else {},
            **self._asked,
        )
        for chunk in told.parse():
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content
        self.place = told.headers["x-turnout-conversation"]


def sum_up(client: httpx.Client, place: str) -> str:
    """What was said and what this account's month has cost. Raises `Trouble`."""
    kept = answer_of(client.get(f"/v2/conversations/{place}"))
    bill = answer_of(client.get("/v2/billing/usage/my-usage", params={"days": 30}))
    return (
        f"conversation {place}, {kept['title']!r}: {len(kept['messages'])} messages kept\n"
        f"your last 30 days: {bill['total_requests']} questions, {bill['total_tokens']} tokens, "
        f"{bill['total_cost']:.6f} {bill['currency']}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="A chat with support.")
    parser.add_argument("questions", nargs="*")
    parser.add_argument("--model", default="local/smollm2")
    parser.add_argument("--max-tokens", type=int, default=120)
    given = parser.parse_args()
    token = log_in()
    with (
        gateway(authorization=f"Bearer {token}") as client,
        openai.OpenAI(
            base_url=root() + "/v2/llm",
            api_key=token,
            default_headers={"x-turnout-service": SERVICE},
            timeout=TIMEOUT,
            max_retries=0,  # Turnout tries again itself
        ) as sdk,
    ):
        chat = Chat(sdk, model=given.model, max_tokens=given.max_tokens)
        for question in given.questions or map(str.strip, sys.stdin):
            print(f"you: {question}\nsupport: ", end="", flush=True)
            try:
                for part in chat.say(question):
                    print(part, end="", flush=True)
            except openai.OpenAIError as error:
                raise Trouble(f"\nno whole answer: {error}") from None
            print("\n")
        if chat.place is not None:
            print(sum_up(client, chat.place))


if __name__ == "__main__":
    run(main)
