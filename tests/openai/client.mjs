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
