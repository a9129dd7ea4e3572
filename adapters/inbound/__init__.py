"""Ways in other than OpenAI's chat, on top of it: a bridge makes a chat of an ask, and makes an
answer of the shape that was asked for of the chat's."""
