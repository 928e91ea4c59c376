//! Chat templates that are broken, endless, or build what no memory holds.

use crate::judge::{FILE, bounded, check_error, read_all, render};
use crate::raw::Raw;
use crate::{quick, valid};
use wginfer::ErrorKind::{self, Format, Limit};
use wginfer::formats::gguf::{GgufFile, Value};
use wginfer::lm::ChatTemplate;
use wginfer::lm::tokenizer::Tokenizer;

const KEY: &str = "key 'tokenizer.chat_template'";

/// What reading a file with this template gives.
fn outcome(template: &str) -> Result<(), wginfer::Error> {
    let mut raw = Raw::new(&valid());
    raw.set("tokenizer.chat_template", Value::Str(template.as_bytes()));
    let bytes = raw.bytes();
    let name: String = template.chars().take(100).collect();
    // On a stack of the size that threads have.
    bounded(&name, || read_all(&bytes))
}

fn refused(template: &str, kinds: &[ErrorKind]) {
    let name: String = template.chars().take(300).collect();
    let error = outcome(template).expect_err(&name);
    check_error(&error, &name);
    assert!(kinds.contains(&error.kind()), "{name}: {:?}: {error}", error.kind());
    let text = error.to_string();
    assert!(text.contains(FILE), "{name}: {text}");
    // Work is a limit of the rendering, not a fault at one place of the key.
    assert!(error.kind() == Limit || text.contains(KEY), "{name}: {text}");
}

#[test]
fn what_is_no_template_is_refused() {
    for template in [
        "{% if %}",
        "{{ 1 +",
        "{% for m in messages %}",
        "{% endfor %}",
        "{{ messages | nonsense }}",
        "{{ nonsense() }}",
        "{{ messages is nonsense }}",
        "{{ messages[0].role.nonsense() }}",
        "{{ x.y.z }}",
        "{% include 'other' %}",
        "{% extends 'other' %}",
        "{% import 'other' as other %}",
        "{{ 1 // 0 }}",
        "{{ 2 ** 10000000 }}",
        "{{ 'x'.split('') }}",
    ] {
        refused(template, &[Format]);
    }
    refused(&"{{ ".repeat(100_000), &[Format]);
    refused(&format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000)), &[Format]);
    refused(&format!("{{{{ {}1 }}}}", "not ".repeat(100_000)), &[Format]);
    refused(&format!("{{{{ {}1 }}}}", "-".repeat(100_000)), &[Format]);
    refused(&format!("{{{{ {}{} }}}}", "[".repeat(50_000), "]".repeat(50_000)), &[Format]);
    refused(&"{% if true %}".repeat(50_000), &[Format]);
    refused(&"x".repeat((1 << 20) + 1), &[Format]);
}

#[test]
fn endless_work_ends() {
    let grow = "{% set ns = namespace(x='xxxxxxxx') %}{% for i in range(60) %}{% set ns.x = ";
    for template in [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}".into(),
        "{% for i in range(10**12) %}{% endfor %}".into(),
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}".into(),
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}".into(),
        "{% for m in messages recursive %}{{ loop(messages) }}{% endfor %}".into(),
        "{{ 'x' * 10**10 }}".into(),
        "{{ ('x' * 99999) * 99999 }}".into(),
        "{{ [1] * 10**10 }}".into(),
        "{{ ([1] * 99999) * 99999 }}".into(),
        "{% for i in [1] * 10**9 %}{% endfor %}".into(),
        "{{ ([1] * 10**9) | length }}{{ ([1] * 10**9) | list }}".into(),
        "{{ (range(99999) | list) * 99 | join('x' * 999) }}".into(),
        "{{ '%0999999999d' | format(1) }}".into(),
        "{{ '%.999999999f' | format(1.5) }}".into(),
        "{{ 'x' | indent(10**9) }}".into(),
        "{{ 'x' | center(10**9) }}".into(),
        "{{ messages | batch(10**9, 'x') }}".into(),
        "{{ messages | slice(10**9) }}".into(),
        "{{ [messages] | tojson(indent=10**9) }}{{ 'x' * 10**8 }}".into(),
        format!("{grow} ns.x ~ ns.x %}}{{% endfor %}}"),
        format!("{grow} ns.x + ns.x %}}{{% endfor %}}"),
        format!("{grow} ns.x * 2 %}}{{% endfor %}}"),
        format!("{grow} ns.x | replace('x', ns.x) %}}{{% endfor %}}"),
        format!("{grow} ns.x.replace('', ns.x) %}}{{% endfor %}}"),
        format!("{grow} [ns.x, ns.x] | join %}}{{% endfor %}}"),
        format!("{grow} ns.x.join(['a', 'b', 'c']) %}}{{% endfor %}}"),
    ] {
        refused(&template, &[Limit, Format]);
    }
}

/// Lists in lists, each twice in the next: cheap to make, endless to read.
#[test]
fn lists_that_double_end() {
    let doubled = |name: &str, pair: &str| {
        format!(
            "{{% set {name} = namespace(x=[1]) %}}{{% for i in range(60) %}}\
             {{% set {name}.x = {} %}}{{% endfor %}}",
            pair.replace("$", &format!("{name}.x"))
        )
    };
    let lines = |name: &str| {
        format!(
            "{{% set {name} = [1] %}}{}",
            format!("{{% set {name} = [{name}, {name}] %}}").repeat(60)
        )
    };
    let pairs = ["[$, $]", "($, $)", "{'a': $, 'b': $}", "[[$], {'a': $}]", "dict(a=$, b=$)"];
    for (turn, pair) in pairs.into_iter().enumerate() {
        let both = doubled("a", pair) + &doubled("b", pair);
        let ends = [
            "a.x",
            "a.x == b.x",
            "a.x != b.x",
            "a.x < b.x",
            "a.x >= b.x",
            "a.x in [b.x]",
            "a.x in 'text'",
            "1 < 2 == a.x == b.x",
            "'x' ~ a.x",
            "a.x ~ 'x'",
            "{a.x: 1}",
            "{'k': 1}[a.x]",
            "{'k': 1}.get(a.x)",
            "a.x | string",
            "a.x | tojson",
            "a.x | lower",
            "a.x | replace('a', 'b')",
            "a.x | join",
            "[a.x, b.x] | sort",
            "[a.x, b.x] | unique",
            "[a.x, b.x] | max",
            "[a.x] | select('eq', b.x) | list",
            "a.x is eq(b.x)",
            "a.x is in([b.x])",
            "'%s' | format(a.x)",
            "a.x | pprint",
            "a.x | urlencode",
            "a.x | indent",
            "a.x | trim",
            "a.x | int",
            "raise_exception(a.x)",
            "[[a.x, 1], [b.x, 2]] | groupby('0') | list",
            "{'k': a.x} | dictsort(by='value')",
        ];
        // A third of the ways to read it in a quick run, others for each kind.
        for (_, end) in ends.iter().enumerate().filter(|(i, _)| !quick() || (i + turn) % 3 == 0) {
            refused(&format!("{both}{{{{ {end} }}}}"), &[Limit, Format]);
        }
    }
    refused(&(lines("a") + &lines("b") + "{{ a == b }}"), &[Limit, Format]);
    let recursive = "{% macro f(x, y, n) %}{% if n %}{{ f([x, x], [y, y], n - 1) }}{% else %}\
                     {{ x == y }}{% endif %}{% endmacro %}{{ f([1], [1], 60) }}";
    refused(recursive, &[Limit, Format]);
}

/// The engine recurses over the parts of an expression and over `elif`.
#[test]
fn long_sources_end() {
    let values = "1, ".repeat(70_000);
    for template in [
        format!("{{{{ x{} }}}}", " + 1".repeat(200_000)),
        format!("{{{{ x{} }}}}", ".a".repeat(200_000)),
        format!("{{{{ x{} }}}}", "[0]".repeat(200_000)),
        format!("{{{{ x{} }}}}", "|list".repeat(200_000)),
        format!("{{{{ x{} }}}}", " and x".repeat(150_000)),
        format!("{{{{ x{} }}}}", " == x".repeat(150_000)),
        format!("{{{{ x{} }}}}", " if x else x".repeat(80_000)),
        format!("{{{{ f({values}) }}}}"),
        format!("{{{{ [{values}] }}}}"),
        format!("{{% set {} = [] %}}", "a, ".repeat(70_000)),
        format!("{{% if x %}}{}{{% endif %}}", "{% elif x %}".repeat(50_000)),
        format!("{{% macro f({}) %}}{{% endmacro %}}", "a,".repeat(100_000)),
    ] {
        refused(&template, &[Format]);
    }
    // Lines are counted in sixteen bits.
    outcome(&"x\n".repeat(200_000)).unwrap();
    refused(&("\n".repeat(200_000) + "{{"), &[Format]);
}

/// Nested so deep that to compare, to write or to free it fills the stack.
#[test]
fn deep_values_end() {
    let chain = |link: &str| {
        format!(
            "{{% set ns = namespace(x=[1]) %}}{{% for i in range(30000) %}}\
             {{% set ns.x = {link} %}}{{% endfor %}}"
        )
    };
    for link in [
        "[ns.x]",
        "(ns.x,)",
        "{'a': ns.x}",
        "dict(a=ns.x)",
        "[ns]",
        "namespace(x=ns.x)",
        "[ns.x] | list",
        "[ns.x] | batch(1) | list",
        "[[ns.x]] | first",
    ] {
        refused(&chain(link), &[Limit, Format]);
        refused(&(chain(link) + "{{ ns.x }}{{ ns.x == [1] }}"), &[Limit, Format]);
    }
    // These need not nest: whatever they do, it ends well.
    for link in [
        "ns.x[0:]",
        "ns.x[::-1]",
        "ns.x * 1",
        "ns.x + []",
        "ns.x | reverse",
        "ns.x | chain([])",
        "ns.x | zip([1])",
        "ns.x | map('string')",
        "ns.x | select",
    ] {
        for end in ["", "{{ ns.x }}", "{{ ns.x | length }}", "{{ ns.x == [1] }}"] {
            if let Err(error) = outcome(&(chain(link) + end)) {
                check_error(&error, link);
            }
        }
    }
}

/// A namespace can hold itself.
#[test]
fn circles_end() {
    let circles = [
        "{% set a = namespace() %}{% set b = namespace() %}{% set a.x = a %}{% set b.x = b %}",
        "{% set a = namespace() %}{% set b = namespace() %}{% set a.x = b %}{% set b.x = a %}",
        "{% set a = namespace() %}{% set b = namespace() %}{% set a.x = [a] %}{% set b.x = [b] %}",
        "{% set a = namespace() %}{% set b = namespace() %}{% for a.x in [a] %}{% endfor %}\
         {% set b.x = {'b': b} %}",
        "{% set a = namespace() %}{% set b = namespace() %}{% set a.x, b.x = a, b %}",
    ];
    for circle in circles {
        for end in ["a", "a == b", "'' ~ a", "a | tojson", "a | string", "[a, b] | sort"] {
            refused(&format!("{circle}{{{{ {end} }}}}"), &[Limit, Format]);
        }
    }
}

/// A template from outside must not stand in the way of plain text.
#[test]
fn a_model_with_a_broken_template_still_loads() {
    let mut raw = Raw::new(&valid());
    raw.set("tokenizer.chat_template", Value::Str(b"{% if %}"));
    crate::judge::load_and_step(&raw.bytes()).unwrap();
}

/// The bounds leave room for what people do.
#[test]
fn honest_work_is_not_refused() {
    let file = GgufFile::parse(valid(), FILE).unwrap();
    let tokenizer = Tokenizer::from_gguf(&file).unwrap();
    let text = render(&ChatTemplate::from_gguf(&file, &tokenizer).unwrap()).unwrap();
    assert!(text.ends_with("<|im_start|>assistant\n") && text.contains("Why?"), "{text}");
    outcome("{% for m in messages %}{{ m | tojson }}{{ messages == messages }}{% endfor %}")
        .unwrap();
}
