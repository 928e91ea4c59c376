"""OpenAI's Python client against a running server; see main.rs."""

import json
import math
import os

import openai

client = openai.OpenAI(max_retries=0)
MESSAGES = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]


def chat(**more):
    return client.chat.completions.create(
        model="demo", messages=MESSAGES, temperature=0, **{"max_tokens": 16} | more
    )


def refused(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


if os.environ.get("FULL"):
    # A server with one place, which this stream has.
    stream = chat(stream=True, max_tokens=500, extra_body={"ignore_eos": True})
    next(iter(stream))
    error = refused(openai.RateLimitError, lambda: chat(max_tokens=1))
    assert error.code == "engine_full" and error.response.headers["retry-after"], error
    stream.close()
    patient = client.with_options(max_retries=20)
    assert patient.chat.completions.create(model="demo", messages=MESSAGES, max_tokens=1).choices
    raise SystemExit(0)

if os.environ.get("LOST"):
    # A server on a device that is lost when this says so.
    def say(text):
        print(text, flush=True)
        assert input() == "go on"

    ask = lambda of: of.chat.completions.create(
        model="tiny", messages=MESSAGES, max_tokens=6, temperature=0, extra_body={"ignore_eos": True}
    ).choices[0].message.content
    before = ask(client)
    say("lose it")
    error = refused(openai.InternalServerError, lambda: ask(client))
    assert error.status_code == 503 and error.type == "server_error", error
    # A client with patience need not know of it.
    assert ask(client.with_options(max_retries=50)) == before
    say("told")
    assert ask(client) == before
    raise SystemExit(0)

if os.environ.get("WITH_TOOLS"):
    # Another server, with a template that knows of tools.
    tool = lambda name: {"type": "function", "function": {
        "name": name, "description": "Looks it up.", "parameters": {
            "type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}},
            "required": ["city"], "additionalProperties": False}}}
    tools = [tool("weather"), tool("people")]
    named = {"type": "function", "function": {"name": "people"}}
    for choice in ["required", named]:
        called = chat(tools=tools, tool_choice=choice, max_tokens=60).choices[0]
        assert called.finish_reason == "tool_calls", called
        [call] = called.message.tool_calls
        assert call.type == "function" and call.id and called.message.content is None
        assert choice == "required" or call.function.name == "people", call
        assert set(json.loads(call.function.arguments)) == {"city"}, call
    # The answer of the tool goes back.
    turns = [*MESSAGES, called.message.model_dump(exclude_none=True),
             {"role": "tool", "tool_call_id": call.id, "content": "2 million"}]
    told = client.chat.completions.create(
        model="demo", messages=turns, tools=tools, tool_choice="auto", max_tokens=8, temperature=0)
    assert told.choices[0].finish_reason in ("stop", "length", "tool_calls")
    names, arguments, reasons = [], "", []
    for part in chat(tools=tools, tool_choice=named, max_tokens=60, stream=True):
        for piece in part.choices[0].delta.tool_calls or []:
            names.append(piece.function.name)
            arguments += piece.function.arguments
        reasons.append(part.choices[0].finish_reason)
    assert names == ["people"] and set(json.loads(arguments)) == {"city"}, arguments
    assert reasons[-1] == "tool_calls", reasons
    raise SystemExit(0)

assert [model.id for model in client.models.list()] == ["demo"]

answer = chat(logprobs=True, top_logprobs=2)
text = answer.choices[0].message.content
assert "Paris" in text, text
assert answer.choices[0].finish_reason in ("stop", "length")
assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
tokens = answer.choices[0].logprobs.content
assert len(tokens) == answer.usage.completion_tokens, (len(tokens), answer.usage)
assert b"".join(bytes(token.bytes) for token in tokens).decode() == text
assert all(len(token.top_logprobs) == 2 and token.logprob <= 0 for token in tokens)

streamed, usage = "", None
for part in chat(stream=True, stream_options={"include_usage": True}):
    usage = part.usage or usage
    if part.choices:
        streamed += part.choices[0].delta.content or ""
assert streamed == text, (streamed, text)
assert usage.completion_tokens == answer.usage.completion_tokens

# Few tokens, so that rounding does not decide.
drawn = dict(model="demo", messages=MESSAGES, temperature=1.5, seed=7, n=3, max_tokens=12)
several = client.chat.completions.create(**drawn, extra_body={"top_k": 4})
again = client.chat.completions.create(**drawn, extra_body={"top_k": 4})
texts = [choice.message.content for choice in several.choices]
assert [choice.index for choice in several.choices] == [0, 1, 2]
assert len(set(texts)) > 1 and texts == [choice.message.content for choice in again.choices]

SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "sure": {"type": "boolean"}},
    "required": ["city", "sure"],
    "additionalProperties": False,
}
formed = client.chat.completions.create(
    model="demo", messages=MESSAGES, temperature=0, max_tokens=40,
    response_format={"type": "json_schema",
                     "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}},
)
value = json.loads(formed.choices[0].message.content)
assert set(value) == {"city", "sure"} and isinstance(value["sure"], bool), value

stopped = chat(stop=["Par"])
assert stopped.choices[0].message.content == text.split("Par")[0]
assert stopped.choices[0].finish_reason == "stop"

plain = client.completions.create(
    model="demo", prompt=["1, 2, 3, 4,", "The sky is"], max_tokens=8, temperature=0, logprobs=1
)
assert [choice.index for choice in plain.choices] == [0, 1]
assert "5" in plain.choices[0].text, plain
assert len(plain.choices[0].logprobs.tokens) == 8

# Only the prompt, and how likely it is.
told = client.completions.create(
    model="demo", prompt="The sky is blue", echo=True, logprobs=2, max_tokens=0)
of, usage = told.choices[0].logprobs, told.usage
assert told.choices[0].text == "The sky is blue" and usage.completion_tokens == 0, told
assert len(of.tokens) == len(of.token_logprobs) == usage.prompt_tokens, told
assert of.token_logprobs[0] is None and of.top_logprobs[0] is None, told
assert all(value < 0 for value in of.token_logprobs[1:]), told
assert all(len(top) == 2 for top in of.top_logprobs[1:]), told
assert [told.choices[0].text[at:].startswith(token) for at, token in zip(
    of.text_offset, of.tokens)] == [True] * len(of.tokens), told

texts = ["A cat sleeps on the sofa.", "A kitten naps on the couch.", "Interest rates rose."]
vectors = [one.embedding for one in client.embeddings.create(model="demo", input=texts).data]
assert all(math.isclose(sum(v * v for v in vector), 1, rel_tol=1e-4) for vector in vectors)
raw = client.embeddings.create(model="demo", input=texts[0], encoding_format="float")
assert max(abs(a - b) for a, b in zip(raw.data[0].embedding, vectors[0])) < 1e-4
part = client.embeddings.create(model="demo", input=texts[0], dimensions=64).data[0].embedding
scale = math.sqrt(sum(v * v for v in vectors[0][:64]))
assert len(part) == 64
assert max(abs(a - b / scale) for a, b in zip(part, vectors[0])) < 1e-4
near, far = (sum(a * b for a, b in zip(vectors[0], vectors[i])) for i in (1, 2))
assert near > far, (near, far)

stranger = openai.OpenAI(api_key="wrong", base_url=os.environ["OPENAI_BASE_URL"], max_retries=0)
refused(openai.AuthenticationError, stranger.models.list)
error = refused(openai.BadRequestError, lambda: chat(presence_penalty=3))
assert error.param == "presence_penalty", error
refused(
    openai.NotFoundError,
    lambda: client.chat.completions.create(model="gpt", messages=MESSAGES),
)
print(f"openai {openai.__version__} for Python: {text!r}")
