// The conversation of tests/e2e/test_dialects.py, by the `openai` npm package. Prints one JSON line.
import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const model = "m";
const messages = [{ role: "user", content: "What is the weather in Paris?" }];
const parameters = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
const tools = [
  { type: "function", function: { name: "get_weather", description: "Now.", parameters } },
];
const asCall = (call) => [call.function.name, JSON.parse(call.function.arguments)];

const whole = await client.chat.completions.create({ model, messages });
const stream = client.chat.completions.stream({
  model,
  messages,
  stream_options: { include_usage: true },
});
const streamed = await stream.finalChatCompletion();
const first = await client.chat.completions.create({ model, messages, tools });
const said = first.choices[0].message;
const last = await client.chat.completions.create({
  model,
  tools,
  messages: [
    ...messages,
    said,
    { role: "tool", tool_call_id: said.tool_calls[0].id, content: '{"weather": "sunny, 21"}' },
  ],
});
const calling = client.chat.completions.stream({ model, messages, tools });
const called = await calling.finalChatCompletion();
const response = await client.responses.create({ model, input: "Hi" });

console.log(
  JSON.stringify({
    whole: whole.choices[0].message.content,
    streamed: streamed.choices[0].message.content,
    usage: [streamed.usage.prompt_tokens, streamed.usage.completion_tokens],
    call: asCall(said.tool_calls[0]),
    told: last.choices[0].message.content,
    streamedCall: asCall(called.choices[0].message.tool_calls[0]),
    response: response.output_text,
  }),
);
