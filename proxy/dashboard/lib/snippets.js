// A chat call as a program that others can run: against /v1, with a key put in.

/** Stands where the key belongs. */
export const KEY = "YOUR_TURNOUT_KEY";

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const json = (value, indent = 2) => JSON.stringify(value, null, indent);
const shifted = (text, by) => text.replaceAll("\n", `\n${" ".repeat(by)}`);

/** JSON as Python writes it; only the words for nothing, yes and no differ. */
function python(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return value.length ? `[\n${value.map((one) => `    ${shifted(python(one), 4)},\n`).join("")}]` : "[]";
  if (typeof value === "object") return `{${Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${python(one)}`).join(", ")}}`;
  return JSON.stringify(value);
}

/** `base` is the URL that ends in /v1; `body` of a chat completion; `headers` of Turnout's own. */
export function curl(base, body, headers) {
  const all = { authorization: `Bearer ${KEY}`, "content-type": "application/json", ...headers };
  const lines = Object.entries(all).map(([name, value]) => `  -H ${quoted(`${name}: ${value}`)} \\\n`);
  return `curl -sS${body.stream ? "N" : ""} ${quoted(`${base}/chat/completions`)} \\\n${lines.join("")}  -d ${quoted(json(body))}\n`;
}

export function pythonSdk(base, body, headers) {
  const given = Object.entries(body).map(([name, value]) => `    ${name}=${shifted(python(value), 4)},\n`).join("");
  const more = Object.keys(headers).length ? `    extra_headers=${python(headers)},\n` : "";
  const shown = body.stream
    ? 'for chunk in answer:\n    if chunk.choices:\n        print(chunk.choices[0].delta.content or "", end="", flush=True)\nprint()\n'
    : "print(answer.choices[0].message.content)\n";
  return `# pip install openai
from openai import OpenAI

client = OpenAI(base_url=${JSON.stringify(base)}, api_key=${JSON.stringify(KEY)})
answer = client.chat.completions.create(
${given}${more})
${shown}`;
}

export function javascriptSdk(base, body, headers) {
  const more = Object.keys(headers).length ? `, { headers: ${json(headers)} }` : "";
  const shown = body.stream
    ? 'for await (const chunk of answer) process.stdout.write(chunk.choices[0]?.delta?.content ?? "");\nconsole.log();\n'
    : "console.log(answer.choices[0].message.content);\n";
  return `// npm install openai; save as ask.mjs; node ask.mjs
import OpenAI from "openai";

const client = new OpenAI({ baseURL: ${JSON.stringify(base)}, apiKey: ${JSON.stringify(KEY)} });
const answer = await client.chat.completions.create(${json(body)}${more});
${shown}`;
}

/** Without any package: whole answers, or the events as they come. */
export function javascriptFetch(base, body, headers) {
  const all = { authorization: `Bearer ${KEY}`, "content-type": "application/json", ...headers };
  const shown = body.stream
    ? "for await (const bytes of reply.body) process.stdout.write(bytes);\n"
    : "console.log((await reply.json()).choices[0].message.content);\n";
  return `// Save as ask.mjs; node ask.mjs
const reply = await fetch(${JSON.stringify(`${base}/chat/completions`)}, {
  method: "POST",
  headers: ${shifted(json(all), 2)},
  body: JSON.stringify(${shifted(json(body), 2)}),
});
if (!reply.ok) throw new Error(await reply.text());
${shown}`;
}

export const FORMS = [
  ["curl", "curl", curl], ["python", "Python", pythonSdk],
  ["javascript", "JavaScript", javascriptSdk], ["fetch", "fetch", javascriptFetch],
];
