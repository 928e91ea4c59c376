// OpenAI's JavaScript client against a running server; see main.rs.

import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const messages = [
  { role: "user", content: "What is the capital of France? Answer in one word." },
];
const chat = (more) =>
  client.chat.completions.create({
    model: "demo",
    messages,
    temperature: 0,
    max_tokens: 16,
    ...more,
  });

const only = (properties) => ({
  type: "object",
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
});
const cities = { city: { enum: ["Paris", "Rome"] } };
if (process.env.WITH_TOOLS) {
  // Another server, with a template that knows of tools.
  const tool = (name) => ({ type: "function", function: { name, parameters: only(cities) } });
  const tools = [tool("weather"), tool("people")];
  const named = { type: "function", function: { name: "people" } };
  const called = await chat({ tools, tool_choice: named, max_tokens: 60 });
  assert.equal(called.choices[0].finish_reason, "tool_calls");
  const [call] = called.choices[0].message.tool_calls;
  assert.equal(call.function.name, "people");
  assert.deepEqual(Object.keys(JSON.parse(call.function.arguments)), ["city"]);
  let text = "";
  const parts = await chat({ tools, tool_choice: "required", max_tokens: 60, stream: true });
  for await (const part of parts) {
    for (const piece of part.choices[0].delta.tool_calls ?? []) text += piece.function.arguments;
  }
  assert.deepEqual(Object.keys(JSON.parse(text)), ["city"]);
  process.exit(0);
}

const models = [];
for await (const model of client.models.list()) models.push(model.id);
assert.deepEqual(models, ["demo"]);

const answer = await chat({});
const text = answer.choices[0].message.content;
assert.match(text, /Paris/);
assert.equal(
  answer.usage.total_tokens,
  answer.usage.prompt_tokens + answer.usage.completion_tokens,
);

let streamed = "";
for await (const part of await chat({ stream: true })) {
  streamed += part.choices[0]?.delta?.content ?? "";
}
assert.equal(streamed, text);

let usage = null;
const counted = await chat({ stream: true, stream_options: { include_usage: true } });
for await (const part of counted) usage = part.usage ?? usage;
assert.equal(usage.completion_tokens, answer.usage.completion_tokens);

// Few tokens, so that rounding does not decide.
const drawn = { n: 2, seed: 5, temperature: 1.5, top_k: 4 };
const several = await chat(drawn);
assert.deepEqual(several.choices.map((choice) => choice.index), [0, 1]);
const again = await chat(drawn);
assert.deepEqual(
  several.choices.map((choice) => choice.message.content),
  again.choices.map((choice) => choice.message.content),
);

const formed = await chat({
  max_tokens: 40,
  response_format: {
    type: "json_schema",
    json_schema: { name: "answer", strict: true, schema: only(cities) },
  },
});
assert.deepEqual(Object.keys(JSON.parse(formed.choices[0].message.content)), ["city"]);

// A client that has heard enough.
const long = await chat({ stream: true, max_tokens: 500 });
for await (const part of long) {
  assert.ok(part.id);
  break;
}
long.controller.abort();

const plain = await client.completions.create({
  model: "demo",
  prompt: "1, 2, 3, 4,",
  max_tokens: 8,
  temperature: 0,
});
assert.match(plain.choices[0].text, /5/);

const vectors = await client.embeddings.create({ model: "demo", input: ["one", "two"] });
assert.equal(vectors.data.length, 2);
const length = vectors.data[1].embedding.reduce((sum, v) => sum + v * v, 0);
assert.ok(Math.abs(length - 1) < 1e-4, `${length}`);
const part = await client.embeddings.create({ model: "demo", input: "two", dimensions: 32 });
assert.equal(part.data[0].embedding.length, 32);

await assert.rejects(chat({ presence_penalty: 3 }), OpenAI.BadRequestError);
const stranger = new OpenAI({ apiKey: "wrong", maxRetries: 0 });
await assert.rejects(async () => await stranger.models.list(), OpenAI.AuthenticationError);
console.log(`openai for JavaScript: ${JSON.stringify(text)}`);
