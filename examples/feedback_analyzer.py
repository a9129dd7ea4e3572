"""A small service in need of a model: what customers like, and what they don't.

python examples/feedback_analyzer.py --user user123 --positive "Fast" --negative "Dear" "Late"
"""

import argparse
import asyncio
import json
from typing import Any

import openai
from llm_wrapper import MODEL, llm_wrapper

SERVICE = "feedback_analyzer"


async def analyse(
    user_id: str, positive: list[str], negative: list[str], model: str
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
        max_tokens=200,
        metadata={"positive_count": len(positive), "negative_count": len(negative)},
    )
    return {
        "summary": result["response"].choices[0].message.content,
        "tokens": result["usage"]["total_tokens"],
    }


async def _once(given: argparse.Namespace) -> dict[str, Any]:
    async with llm_wrapper.client:
        return await analyse(given.user, given.positive, given.negative, given.model)


def main() -> int:
    parser = argparse.ArgumentParser(description="Sums feedback up.")
    parser.add_argument("--user", required=True)
    parser.add_argument("--positive", nargs="*", default=[])
    parser.add_argument("--negative", nargs="*", default=[])
    parser.add_argument("--model", default=MODEL)
    given = parser.parse_args()
    try:
        found = asyncio.run(_once(given))
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
