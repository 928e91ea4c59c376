//! Templates as models have them, and hostile ones.

use super::*;
use crate::error::ErrorKind as Kind;
use crate::formats::gguf::{self, GgufFile, GgufWriter};
use std::time::{Duration, Instant};

fn smollm2() -> (GgufFile, Tokenizer) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/smollm2/tokenizer.gguf");
    let file = gguf::open(path).unwrap();
    let tokenizer = Tokenizer::from_gguf(&file).unwrap();
    (file, tokenizer)
}

fn user(text: &str) -> Vec<ChatMessage> {
    vec![ChatMessage::new("user", text)]
}

fn render(source: &str, messages: &[ChatMessage]) -> Result<String> {
    ChatTemplate::new(source, "m.gguf", "<s>", "</s>")?.render(messages, true)
}

fn plain(source: &str) -> String {
    render(source, &user(" Hi there ")).unwrap()
}

#[test]
fn smollm2_is_rendered_as_the_reference_has_it() {
    let (file, tokenizer) = smollm2();
    let template = ChatTemplate::from_gguf(&file, &tokenizer).unwrap();
    // The 27th text of tests/data/smollm2/tokenization.json.
    let json = include_str!("../../../tests/data/smollm2/tokenization.json");
    let cases: serde_json::Value = serde_json::from_str(json).unwrap();
    let question = user("What is the capital of France?");
    let text = template.render(&question, true).unwrap();
    let case = cases.as_array().unwrap().iter().find(|c| c["text"] == text.as_str()).unwrap();
    let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
    let options = super::super::tokenizer::EncodeOptions::PROMPT;
    assert_eq!(tokenizer.encode(&text, options).unwrap(), ids);

    let cut = text.strip_suffix("<|im_start|>assistant\n").unwrap();
    assert_eq!(template.render(&question, false).unwrap(), cut);
    let messages = [ChatMessage::new("system", "Be brief."), question[0].clone()];
    assert_eq!(
        template.render(&messages, false).unwrap(),
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is the capital of \
         France?<|im_end|>\n"
    );
}

#[test]
fn chatml_is_the_callers_choice() {
    let (_, tokenizer) = smollm2();
    let bare = GgufFile::parse(GgufWriter::new().to_bytes().unwrap(), "bare.gguf").unwrap();
    let error = ChatTemplate::from_gguf(&bare, &tokenizer).unwrap_err();
    assert_eq!(error.kind(), Kind::Format);
    let text = error.to_string();
    assert!(text.contains("bare.gguf: key 'tokenizer.chat_template'"), "{text}");
    assert!(text.contains("ChatML"), "{text}");
    assert_eq!(
        ChatTemplate::chatml().unwrap().render(&user("Hi"), true).unwrap(),
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    );
}

#[test]
fn what_templates_in_use_rely_on() {
    let table = [
        // Tokens, white space around blocks, the last line end.
        ("{{ bos_token }}{{ eos_token }}", "<s></s>"),
        ("{% if true %}\n  {% if true %}\na\n  {% endif %}\n{% endif %}\n", "a\n"),
        ("{%- for m in messages -%}  {{ m.role }}  {%- endfor %}", "user"),
        // Missing things.
        ("{% if tools %}t{% endif %}{{ tools is none }}{{ x is defined }}", "TrueFalse"),
        ("{% if messages[0].tool_calls %}t{% else %}f{% endif %}", "f"),
        ("{{ 'name' in messages[0] }}{{ 'role' in messages[0] }}", "FalseTrue"),
        // Python.
        (
            "{{ messages[0]['content'].strip() }}|{{ messages[0].content | trim }}",
            "Hi there|Hi there",
        ),
        ("{{ 'a-b-c'.split('-')[-1] }}{{ 'a-b-c'.split('-', 1) | join('+') }}", "ca+b-c"),
        ("{{ 'a-b-c'.rsplit('-', 1)[0] }}{{ ' a  b '.split() | join('+') }}", "a-ba+b"),
        ("{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith(('x', 'c')) }}", "TrueTrue"),
        ("{{ 'xxay'.lstrip('x') }}{{ 'ayy'.rstrip('y') }}{{ 'a\nb'.splitlines()[1] }}", "ayab"),
        ("{{ 'aXaX'.replace('X', 'yy') }}{{ 'aaa'.replace('a', 'b', 2) }}", "ayyayybba"),
        ("{{ 'user'.upper() }}{{ 'USER'.lower() }}{{ 'a bc'.title() }}", "USERuserA Bc"),
        ("{{ 'öab'.find('b') }}{{ 'ab'.find('z') }}{{ 'abab'.count('b') }}", "2-12"),
        ("{{ ','.join(['a', 'b']) }}{{ 'aB'.capitalize() }}{{ '12'.isdigit() }}", "a,bAbTrue"),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}", "a1"),
        (
            "{{ messages[0].get('role') }}{{ messages[0].get('x', 'y') }}{{ {}.get('x') is none }}",
            "useryTrue",
        ),
        ("{{ {'a': 1}.keys() | list | tojson }}{{ {'a': 1}.values() | list }}", "[\"a\"][1]"),
        ("{{ messages[1:] | length }}{{ messages[::-1][0].role }}", "0user"),
        // Namespaces, macros, loop control, loop variables.
        (
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
            "1",
        ),
        ("{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f('a') }}", "<a>"),
        (
            "{% for i in range(5) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 3 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            "02",
        ),
        (
            "{% for i in [1, 2] %}{{ loop.first }}{{ loop.last }}{{ loop.index0 }}{% endfor %}",
            "TrueFalse0FalseTrue1",
        ),
        // JSON as Python writes it, nothing escaped for HTML.
        (
            "{{ {'a': [1, '<é\"'], 'b': none, 'c': true, 'd': 1.5} | tojson }}",
            "{\"a\": [1, \"<é\\\"\"], \"b\": null, \"c\": true, \"d\": 1.5}",
        ),
        ("{{ [1] | tojson(indent=2) }}", "[\n  1\n]"),
        ("{{ messages | selectattr('role', 'equalto', 'user') | list | length }}", "1"),
        ("{{ '<&>' }}{{ 'a' ~ 1 }}{{ 'x' if false else 'y' }}", "<&>a1y"),
    ];
    for (source, expected) in table {
        assert_eq!(plain(source), expected, "{source}");
    }
    let year: u32 = plain("{{ strftime_now('%Y') }}").parse().unwrap();
    assert!((2025..2200).contains(&year));
}

#[test]
fn a_refusal_is_the_callers_error_in_the_templates_words() {
    let direct = "{{ raise_exception('Roles must alternate') }}";
    let in_macro = "{% macro f() %}{{ raise_exception('Roles must alternate') }}{% endmacro %}{% for m in messages %}{{ f() }}{% endfor %}";
    for source in [direct, in_macro] {
        let error = render(source, &user("x")).unwrap_err();
        assert_eq!(error.kind(), Kind::Input, "{error}");
        assert!(error.to_string().ends_with("got Roles must alternate"), "{error}");
    }
}

#[test]
fn broken_templates_name_file_and_line() {
    for (source, line) in [
        ("a\n{% if %}", 2),
        ("{{ 1 +", 1),
        ("{% endfor %}", 1),
        ("\n\n{{ x.y.z }}", 3),
        ("{{ 'a'.unknown_method() }}", 1),
        ("{{ unknown_function() }}", 1),
        ("{{ 1 / 0 }}", 1),
        ("{{ strftime_now('%Q') }}", 1),
        ("{{ 'a'.split('') }}", 1),
        ("{% include 'other' %}", 1),
    ] {
        let error = render(source, &user("x")).unwrap_err();
        assert_eq!(error.kind(), Kind::Format, "{source}: {error}");
        let at = format!("m.gguf: key 'tokenizer.chat_template', line {line}: ");
        assert!(error.to_string().starts_with(&at), "{source}: {error}");
    }
    let deep = format!("{}{}", "{{ ".to_string() + &"(".repeat(100_000), ")".repeat(100_000));
    assert_eq!(render(&deep, &[]).unwrap_err().kind(), Kind::Format);
    let long = "x".repeat(MAX_SOURCE + 1);
    assert_eq!(render(&long, &[]).unwrap_err().kind(), Kind::Format);
}

#[test]
fn hostile_templates_run_out_of_fuel() {
    let double = "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(60) %}{% set ns.x = ";
    let nested = "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}";
    let sources = [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
            .to_string(),
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".into(),
        "{% for i in range(99999) %}{{ 'x' * 9999 }}{% endfor %}".into(),
        "{{ 'x' * 99999999 }}".into(),
        format!("{double} ns.x ~ ns.x %}}{{% endfor %}}"),
        format!("{double} ns.x.replace('x', ns.x) %}}{{% endfor %}}"),
        format!("{double} ns.x.replace('', ns.x) %}}{{% endfor %}}"),
        format!("{double} ns.x.join([ns.x, ns.x, ns.x]) %}}{{% endfor %}}"),
        format!("{double} ns.x | replace('x', ns.x) %}}{{% endfor %}}"),
        format!("{nested}{{{{ ns.x }}}}"),
        format!("{nested}{{{{ ns.x | tojson }}}}"),
        format!("{nested}{{{{ ns.x | tojson(indent=1) }}}}"),
        format!("{nested}{{{{ ns.x | string }}}}"),
    ];
    for source in sources {
        let start = Instant::now();
        let error = render(&source, &user("x")).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(5), "{source}: {:?}", start.elapsed());
        // Unbounded recursion stops at the engine's depth before the fuel ends.
        let expected = if source.contains("macro") { Kind::Format } else { Kind::Limit };
        assert_eq!(error.kind(), expected, "{source}: {error}");
    }
}

#[test]
fn long_conversations_have_the_fuel_they_need() {
    let (file, tokenizer) = smollm2();
    let template = ChatTemplate::from_gguf(&file, &tokenizer).unwrap();
    let long = user(&"word ".repeat(1 << 20));
    assert!(template.render(&long, true).unwrap().len() > 5 << 20);
    let many: Vec<_> = (0..5000).map(|_| ChatMessage::new("user", "Hi")).collect();
    assert!(template.render(&many, true).unwrap().len() > 5000 * 20);
}

#[test]
fn what_python_does_with_values() {
    let cases = [
        ("{% if tools is iterable and tools | length > 0 %}x{% else %}y{% endif %}", "y"),
        ("{% if 'ab' is iterable and messages is iterable %}x{% endif %}", "x"),
        ("{{ '<{}|{1}{{}}{a}>'.format(1, 'b', a='é') }}", "<1|b{}é>"),
        (
            "{{ {'b': 'é😀', 'a': 1} | tojson(ensure_ascii=True) }}",
            r#"{"b": "\u00e9\ud83d\ude00", "a": 1}"#,
        ),
        (
            "{{ {'b': [1, 2], 'a': 1} | tojson(separators=(',', ':'), sort_keys=true) }}",
            r#"{"a":1,"b":[1,2]}"#,
        ),
    ];
    for (source, wanted) in cases {
        assert_eq!(plain(source), wanted, "{source}");
    }
    // As CPython 3.11 writes them.
    let percent = [
        ("{{ 'a%sb' % 1 }}{{ '%s' % messages[0].role }}{{ '100%%' % () }}", "a1buser100%"),
        ("{{ '%s-%d-%5.2f|%-4s|%04d' % ('é', 7, 3.14159, 'x', 42) }}", "é-7- 3.14|x   |0042"),
        ("{{ '%(b)s %(a)s' % {'a': 1, 'b': 'c'} }}{{ '%x' % 255 }}", "c 1ff"),
        ("{{ '%s %s' | format('a', true) }}{{ ('%s' % 'b') ~ 'c' }}", "a Truebc"),
        ("{% set x = '%s' %}{% for m in messages %}{{ x % loop.index }}{% endfor %}", "1"),
        ("{{ 7 % 4 }} {{ -7 % 4 }} {{ 7 % -4 }} {{ 7.5 % 2 }} {{ -7.5 % 2 }}", "3 1 -1 1.5 0.5"),
        ("{% if (loop_index | default(4)) % 2 == 0 %}even{% endif %}", "even"),
    ];
    for (source, wanted) in percent {
        assert_eq!(plain(source), wanted, "{source}");
    }
    for source in [
        "{{ '%s %s' % 'a' }}",
        "{{ '%s' % ('a', 'b') }}",
        "{{ '%d' % 'a' }}",
        "{{ 1 % 0 }}",
        "{{ 1.5 % 0 }}",
        "{{ 1 % 'a' }}",
        "{{ '%(a)s' % {} }}",
        "{{ '%q' % 1 }}",
    ] {
        assert_eq!(render(source, &[]).unwrap_err().kind(), Kind::Format, "{source}");
    }
    let much = render("{{ '%999999999s' % 'a' }}", &[]).unwrap_err();
    assert_eq!(much.kind(), Kind::Limit, "{much}");
    assert!(render("{{ '{:>3}'.format(1) }}", &[]).is_err());
    assert!(render("{{ '{}'.format() }}", &[]).is_err());
}

#[test]
fn marks_for_training_are_nothing() {
    let source = "{%- set x = 1 %}{% for m in messages %}a{% generation %}{{ m.content }}\
        {%- set x = 2 -%}{% endgeneration %} {{ x }}{% endfor %}";
    assert_eq!(render(source, &user("b")).unwrap(), "ab 1");
    // Only a tag is one.
    assert_eq!(plain("{{ 'generation' }}{# {% generation #}"), "generation");
}
