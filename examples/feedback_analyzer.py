"""A small service in need of a model: what customers like, and what they don't.

    python examples/feedback_analyzer.py --user user123 --positive "Fast" --negative "Dear" "Late"

It shows a service over the wrapper of llm_wrapper.py: it says for whom it asks and who it is, and
user, service and counts are in the ledger. It prints one JSON object, `{summary, tokens}` or
`{error, detail}`; the exit code is 2 when a limit was reached, 1 for any other fault. Needs
OPENAI_BASE_URL, OPENAI_API_KEY, and the model's name in Turnout's configuration.
"""

import argparse
import asyncio
import json
from typing import Any

import openai
from connection import Trouble, setting
from llm_wrapper import MODEL, llm_wrapper

SERVICE = "feedback_analyzer"


async def analyse(
    user_id: str, positive: list[str], negative: list[str], model: str, max_tokens: int = 200
) -> dict[str, Any]:
    """The summary of what was said, and the tokens that it took."""
    said = "\n".join([*(f"+ {text}" for text in positive), *(f"- {text}" for text in negative)])
    result = await llm_wrapper.chat_completion(
        messages=[
            {"role": "system", "content": "Sum up the feedback in two sentences."},
            {"role": "user", "content": said},
        ],
        user_id=user_id,
        service_name=SERVICE,
        model=model,
        temperature=0.3,
        max_tokens=max_tokens,
        metadata={"positive_count": len(positive), "negative_count": len(negative)},
    )
    return {
        "summary": result["response"].choices[0].message.content,
        "tokens": result["usage"]["total_tokens"],
    }


async def _once(given: argparse.Namespace) -> dict[str, Any]:
    async with llm_wrapper.client:
        return await analyse(
            given.user, given.positive, given.negative, given.model, given.max_tokens
        )


def main() -> int:
    parser = argparse.ArgumentParser(description="Sums feedback up.")
    parser.add_argument("--user", required=True)
    parser.add_argument("--positive", nargs="*", default=[])
    parser.add_argument("--negative", nargs="*", default=[])
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--max-tokens", type=int, default=200)
    given = parser.parse_args()
    try:
        setting("OPENAI_BASE_URL")  # without it the SDK would ask OpenAI itself
        setting("OPENAI_API_KEY")
        found = asyncio.run(_once(given))
    except Trouble as error:
        print(json.dumps({"error": "not set up", "detail": str(error)}))
        return 1
    except openai.RateLimitError as error:
        print(json.dumps({"error": "slow down", "detail": str(error)}))
        return 2
    except openai.APIError as error:
        print(json.dumps({"error": "no answer", "detail": str(error)}))
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
