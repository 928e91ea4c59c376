#!/usr/bin/env python3
"""Fills in chat templates with wginfer and with Hugging Face transformers, and says
where they differ.

    python3 -m venv .venv && .venv/bin/pip install transformers jinja2
    cargo build --example render
    .venv/bin/python scripts/compare_templates.py TEMPLATE.jinja...

Every template gets several conversations: with and without a system prompt, several
turns, tools and calls of them, thoughts, and contents in parts. Where a template
refuses one in transformers, it has to be refused here too.
"""

import argparse
import difflib
import json
import pathlib
import subprocess
import sys
import tempfile

from transformers.utils import chat_template_utils as judge

ROOT = pathlib.Path(__file__).resolve().parent.parent
say = lambda role, content, **more: {"role": role, "content": content, **more}
TOOL = {"type": "function", "function": {
    "name": "weather", "description": "The weather <somewhere> & \"when\".", "parameters": {
        "type": "object", "properties": {
            "place": {"type": "string", "description": "A town's name"},
            "days": {"type": "integer", "enum": [1, 2]}, "exact": {"type": "boolean", "default": True}},
        "required": ["place"]}}}
CALL = {"id": "call12345", "type": "function",
        "function": {"name": "weather", "arguments": {"place": "Köln", "days": 2, "exact": False}}}
CONVERSATIONS = {
    "one": dict(messages=[say("user", "Hi <there> & 'you' \"all\" é日")]),
    "system": dict(messages=[say("system", " Be brief. "), say("user", " Hello\n")]),
    "turns": dict(messages=[
        say("system", "Be brief."), say("user", "One?"), say("assistant", "First."),
        say("user", "Two?"), say("assistant", "<think>\nhm\n</think>\n\nSecond."), say("user", "Three?")]),
    "tools": dict(messages=[say("system", "Use tools."), say("user", "Weather?")], tools=[TOOL]),
    "call": dict(tools=[TOOL], messages=[
        say("user", "Weather in Köln?"), say("assistant", "", tool_calls=[CALL]),
        say("tool", "{\"sky\": \"grey\"}", tool_call_id="call12345", name="weather"),
        say("assistant", "It is grey."), say("user", "And tomorrow?")]),
    "thoughts": dict(messages=[
        say("user", "2+2?"), say("assistant", "4", reasoning_content="Two and two.", thinking="Two."),
        say("user", "3+3?")]),
    "parts": dict(messages=[say("user", [{"type": "text", "text": "In parts."}])]),
}


def filled(source, conversation):
    """(text, error)"""
    try:
        text, _ = judge.render_jinja_template(
            conversations=[conversation["messages"]], tools=conversation.get("tools"),
            chat_template=source, add_generation_prompt=True, bos_token="<s>", eos_token="</s>")
        return text[0], None
    except Exception as error:  # whatever a template raises
        return None, f"{type(error).__name__}: {error}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("templates", nargs="+")
    parser.add_argument("--render", default=ROOT / "target" / "debug" / "examples" / "render")
    given = parser.parse_args()
    same = refused = 0
    for name, conversation in CONVERSATIONS.items():
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(conversation, file)
            file.flush()
            ours = json.loads(subprocess.check_output([given.render, file.name, *given.templates]))
        for path in given.templates:
            text, error = filled(pathlib.Path(path).read_text(), conversation)
            got = ours[path]
            if text is not None and got.get("text") == text:
                same += 1
            elif text is None and "error" in got:
                refused += 1
            else:
                print(f"--- {path}, {name}")
                print(f"  here: {got.get('error', 'a text')}\n  transformers: {error or 'a text'}")
                if text is not None and "text" in got:
                    lines = difflib.unified_diff(text.splitlines(), got["text"].splitlines(), lineterm="", n=0)
                    print("\n".join(list(lines)[2:14]))
    all_of_them = len(given.templates) * len(CONVERSATIONS)
    print(f"{same} the same, {refused} refused by both, of {all_of_them}")
    return 0 if same + refused == all_of_them else 1


if __name__ == "__main__":
    sys.exit(main())
