"""LangChain's standard tests of a chat model, over `ChatOpenAI` on Turnout's local model.

Run by tests/e2e/test_langchain.py. Switched off: tools, for which the model's template has no
place, and structured output, where so small a model keeps to the schema but never ends its first
string (tests/e2e/test_local_model.py has a schema that it does fill).
"""

import os
from typing import Any

from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests


class TestChatOpenAI(ChatModelIntegrationTests):
    """The suite; each property says what the model can do."""

    @property
    def chat_model_class(self) -> type[ChatOpenAI]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {
            "model": "local/smollm2",
            "base_url": os.environ["OPENAI_BASE_URL"],
            "api_key": os.environ["OPENAI_API_KEY"],
            "max_tokens": 24,
            "temperature": 0,
            "stream_usage": True,
            "timeout": 120,
        }

    @property
    def has_tool_calling(self) -> bool:
        return False

    @property
    def has_structured_output(self) -> bool:
        return False

    @property
    def supports_json_mode(self) -> bool:
        return False
