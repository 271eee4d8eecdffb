use super::*;
use crate::text::fixture;

fn render(source: &str, messages: &[Message]) -> Result<String> {
    ChatTemplate::new(source, "<s>", "</s>")?.render(messages, false)
}

fn rendered(source: &str) -> String {
    render(source, &[Message::new("user", "Hi"), Message::new("assistant", "Yo")]).unwrap()
}

fn error(source: &str) -> String {
    let error = render(source, &[]).unwrap_err();
    assert!(matches!(error, Error::Template(_)), "{error:?}");
    error.to_string()
}

#[test]
fn renders_turns_and_the_generation_prompt() {
    let template = fixture::template();
    let messages = [Message::new("user", "Hi"), Message::new("assistant", "Yo")];
    let all = "<|turn|>user\nHi<|end|>\n<|turn|>assistant\nYo<|end|>\n";
    assert_eq!(template.render(&messages, false).unwrap(), all);
    assert_eq!(template.render(&messages[..1], true).unwrap(), &all[..all.find("Yo").unwrap()]);
    assert_eq!(template.render(&[], false).unwrap(), "");
}

// What these expect was rendered by transformers 5.23.
#[test]
fn trims_blocks_as_jinja_does() {
    assert_eq!(rendered("a\nb\n"), "a\nb");
    assert_eq!(rendered("a\n\n"), "a\n");
    assert_eq!(rendered("  {% if true %}\n  x\n  {% endif %}\ny\n"), "  x\ny");
    assert_eq!(rendered("  {{ 'a' }}  \n  {# c #}\n  b"), "  a  \n  b");
    assert_eq!(rendered("line\r\ntwo\rthree\r\n"), "line\ntwo\nthree");
    assert_eq!(rendered("{%- macro m(a) -%}\n  {{ a }}\n{%- endmacro -%}\n  {{ m(1) }}  \n {{- m(2) -}}  \n x"), "12x");
    assert_eq!(rendered("{% macro m(a) %}\n{{ a }}\n{% endmacro %}\n{{ m(1) }}|"), "1\n|");
    assert_eq!(rendered("{% generation %}\n a\n{% endgeneration %}\nb"), " a\nb");
    assert_eq!(rendered("{%- generation %} a {% endgeneration -%} b"), " a b");
}

#[test]
fn values_print_as_in_python() {
    assert_eq!(rendered("{{ none }} {{ true }} {{ 1.0 }} {{ 1e20 }} {{ 1.5e-7 }}"), "None True 1.0 1e+20 1.5e-07");
    assert_eq!(rendered("{{ [1, 'a', none, {'k': \"it's\"}] }}"), "[1, 'a', None, {'k': \"it's\"}]");
    assert_eq!(rendered("{{ ['a\\n\\\\', \"'\\\"\"] }}"), r#"['a\n\\', '\'"']"#);
    assert_eq!(rendered("{{ [nothing] }}{{ nothing }}"), "[Undefined]");
    assert_eq!(rendered("{{ messages[0] }}"), "{'role': 'user', 'content': 'Hi'}");
    assert_eq!(rendered("{{ [1] | trim }}{{ [1] | string }}{{ ['a', [2]] | join('-') }}"), "[1][1]a-[2]");
}

#[test]
fn tojson_writes_as_json_dumps() {
    let json = |arguments: &str| {
        rendered(&format!("{{{{ {{'b': [1, 'é<\\'\"\\n'], 'a': {{}}, 'f': 1e16}} | tojson{arguments} }}}}"))
    };
    assert_eq!(json(""), r#"{"b": [1, "é<'\"\n"], "a": {}, "f": 1e+16}"#);
    assert_eq!(json("(sort_keys=true, ensure_ascii=true)"), r#"{"a": {}, "b": [1, "\u00e9<'\"\n"], "f": 1e+16}"#);
    assert_eq!(json("(separators=(',', ':'))"), r#"{"b":[1,"é<'\"\n"],"a":{},"f":1e+16}"#);
    let indented = "{\n  \"b\": [\n    1,\n    \"é<'\\\"\\n\"\n  ],\n  \"a\": {},\n  \"f\": 1e+16\n}";
    assert_eq!(json("(indent=2)"), indented);
    assert!(error("{{ nothing | tojson }}").contains("the value is undefined"));
    assert!(error("{{ 1 | tojson(separators=[':']) }}").contains("separators must be two strings"));
}

#[test]
fn python_methods_are_there() {
    let calls = "{{ 'a-b-c'.split('-')[-1] }} {{ 'a-b-c'.rsplit('-', 1) }} {{ 'abc'.partition('b') | join('|') }} \
        {{ 'abc'.rpartition('x') | join('|') }} {{ 'äbc'.find('c') }} {{ 'abca'.rfind('a') }} {{ 'a'.find('x') }} \
        {{ 'aXbX'.replace('X', '-', 1) }} {{ 'abc'.removeprefix('a').removesuffix('c') }} {{ '-'.join(['a', 1]) }} \
        {{ messages[0].get('x', 'd') }} {{ '{}!'.format(1) }}";
    assert_eq!(rendered(calls), "c ['a-b', 'c'] a|b|c ||abc 2 3 -1 a-bX b a-1 d 1!");
}

#[test]
fn undefined_values_are_lenient_until_used() {
    let lenient =
        "{{ x }}|{{ x is defined }}|{% for y in x %}{% endfor %}|{{ x | length }}|{{ x ~ 'a' }}|{{ tools is none }}";
    assert_eq!(rendered(lenient), "|False||0|a|True");
    assert!(error("{{ x.y }}").starts_with("chat template: line 1: undefined value"));
    assert!(error("\n{{ x + 'a' }}").starts_with("chat template: line 2: invalid operation"));
}

#[test]
fn other_keys_of_a_message_reach_the_template() {
    let message: Message = serde_json::from_str(
        r#"{"role": "assistant", "content": null, "tool_calls": [{"name": "f", "arguments": {"z": 1, "a": 2}}]}"#,
    )
    .unwrap();
    let source = "{{ messages[0].content is none }} {{ messages[0].tool_calls[0].arguments | tojson }}";
    assert_eq!(render(source, &[message]).unwrap(), r#"True {"z": 1, "a": 2}"#);
}

#[test]
fn errors_say_what_and_where() {
    assert_eq!(
        error("{{ raise_exception('roles must alternate') }}"),
        "chat template: it refuses this conversation: roles must alternate"
    );
    let inside = "{% macro m() %}{{ raise_exception('no') }}{% endmacro %}{{ m() }}";
    assert!(error(inside).ends_with("it refuses this conversation: no"));
    assert!(error("a\n{% if %}").starts_with("chat template: line 2: syntax error"));
    assert!(error("{% for x in y %}").contains("syntax error"));
    assert!(error("{{ 'a' | nothing }}").contains("unknown filter"));
    assert!(error("{{ '{%' ").contains("syntax error"));
    assert!(error("{% include 'other' %}").contains("template not found"));
    assert!(error("{% set x = %}").contains("syntax error"));
}

#[test]
fn endless_templates_end() {
    let long = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
    assert_eq!(error(long), "chat template: it did not finish within 5000000 steps");
    assert!(error("{% for a in range(1000000000) %}{% endfor %}").contains("too many elements"));
}

#[test]
fn deep_templates_end() {
    // A browser's stack has 1 MiB, and frames here, without optimisation, are larger than there.
    let body = || {
        for deep in [
            "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
            "{% macro m(a) %}{{ m(a + 1) }}{% endmacro %}{{ m(1) }}",
            "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
            "{% macro m() %}{{ caller() }}{% call m() %}{% endcall %}{% endmacro %}{% call m() %}{% endcall %}",
            "{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        ] {
            assert!(error(deep).contains("recursion limit exceeded"), "{deep}: {}", error(deep));
        }
        for (start, open, close) in [
            ("{{ ", "(", ")"),
            ("{{ ", "[", "]"),
            ("{{ ", "-", ""),
            ("{{ ", "not ", ""),
            ("{{ ", "x if x else ", ""),
            ("{{ ", "1 ** ", ""),
            ("", "{% if x %}", ""),
            ("", "{% for x in y %}", ""),
        ] {
            let deep = format!("{start}{}1{}", open.repeat(700), close.repeat(700));
            let text = error(&deep);
            assert!(text.contains("syntax error"), "{open}: {text}");
        }
        for chain in ["~x", "~'x'", " + x", ".x", "[0]", "|trim", "()", " and x", " == x", " if x else x"] {
            for end in ["", "}}"] {
                // With 700 links it may render or not, with 100,000 it must not.
                let _ = render(&["{{x", &chain.repeat(700), end].concat(), &[]);
                let text = error(&["\n{{x", &chain.repeat(100_000), end].concat());
                assert_eq!(text, "chat template: line 2: more than 3000 words in one tag", "{chain}");
            }
        }
        let branches =
            |count| error(&format!("{{% if x %}}{}{{% endif %}}{{{{ 1 // 0 }}}}", "{% elif x %}".repeat(count)));
        assert!(branches(300).contains("invalid operation"));
        assert_eq!(branches(100_000), "chat template: line 1: more than 300 elif");
    };
    std::thread::Builder::new().stack_size(1 << 20).spawn(body).unwrap().join().unwrap();
}

#[test]
fn macros_may_call_themselves() {
    let nested = "{% macro m(n) %}({% if n > 0 %}{{ m(n - 1) }}{% endif %}){% endmacro %}{{ m(25) }}";
    assert_eq!(rendered(nested), format!("{}{}", "(".repeat(26), ")".repeat(26)));
}

#[test]
fn growing_templates_end() {
    for growing in [
        "{% for i in range(100000) %}{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' * 100 }}{% endfor %}",
        "{% set ns = namespace(x='a') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='a') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x='a') %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] | join %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x.replace('a', ns.x) %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x | replace('a', ns.x) %}{% endfor %}",
        "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
        "{% set ns = namespace(x='a') %}{% for i in range(99) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}\
            {% set ns.x = y %}{% endfor %}",
        "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}",
        "{% set ns = namespace(x={}) %}{% for i in range(99999) %}{% set ns.x = {'a': ns.x} %}{% endfor %}",
        "{% macro m(x) %}{{ m(x ~ x) }}{% endmacro %}{{ m('aaaaaaaaaaaaaaaaaaaaaaaa' * 9999) }}",
        "{% for x in ['aaaaaaaaaaaaaaaaaaaaaaaa' * 9999] recursive %}{{ loop([x ~ x]) }}{% endfor %}",
        "{% macro m() %}{% for i in range(99999) %}{{ 'a' * 999 }}{% endfor %}{% endmacro %}{% if m() %}{% endif %}",
        "{{ 'a' * 99999999 }}",
        "{{ [1] * 9999999999 }}",
        "{{ ([1] * 9999999999) | list }}",
        "{{ ([1] * 9999999999) | trim }}",
        "{{ ([1] * 9999999999) | string }}",
        "{{ ([1] * 9999999999) | replace('a', 'b') }}",
        "{{ ([1] * 9999999999) | tojson }}",
        "{{ (['a'] * 99999) | join('b' * 9999) }}",
    ] {
        assert_eq!(error(growing), "chat template: it makes more than 16 MiB of text or data", "{growing}");
    }
    for held in ["ns", "[ns]", "{'a': ns}", "[1] + [ns]"] {
        let circle = error(&format!("{{% set ns = namespace() %}}{{% set ns.me = {held} %}}{{{{ ns ~ '' }}}}"));
        assert!(circle.ends_with("a namespace cannot be put into a namespace"), "{circle}");
    }
    assert!(error("{{ 'a' * 9999999999999 }}").contains("too large"));
    assert!(error("{{ '%999999999d' | format(1) }}").contains("width"));
    assert!(error("{{ '{:999999999}'.format(1) }}").contains("width"));
}

#[test]
fn guards_do_not_change_what_is_set() {
    assert_eq!(rendered("{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set t = 1, 2 %}{{ t[1] }}"), "122");
    assert_eq!(rendered("{% set x = y %}{{ x is defined }}{% set z = 'a' if false %}{{ z }}"), "False");
    assert_eq!(rendered("{%- set x = {'a': '%}', 'b': \"}}\"} -%}\n{{ x['a'] }}{{ x.b }}"), "%}}}");
    assert_eq!(rendered("{% set x | upper %}abc{% endset %}{{ x }}"), "ABC");
    assert_eq!(rendered("{% raw %}{% set y = 1 %}{% generation %}{% endraw %}"), "{% set y = 1 %}{% generation %}");
    assert_eq!(rendered("{# {% set #}x{{ '{% set x = 1 %}' }}"), "x{% set x = 1 %}");
    assert_eq!(
        rendered("{% macro m(a, b='(,)', c=[1, 2]) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}"),
        "1(,)[1, 2]"
    );
    assert_eq!(
        rendered("{% macro m(n) %}{% set n.a = 2 %}{% endmacro %}{% set n = namespace() %}{{ m(n) }}{{ n.a }}"),
        "2"
    );
    let recursive = "{% for x in [1, [2, [3]]] recursive %}{% if x is iterable %}({{ loop(x) }}){% else %}{{ x }}\
        {% endif %}{% endfor %}";
    assert_eq!(rendered(recursive), "1(2(3))");
}
