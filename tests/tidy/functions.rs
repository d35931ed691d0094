//! Functions of a source file: their lengths and numbers of parameters. Relies on the
//! layout of rustfmt: a function ends at the indent at which it began.

use crate::source::Source;

/// A function with a body.
#[derive(Debug)]
pub(crate) struct Function {
    /// File, line and name, for messages.
    pub(crate) name: String,
    /// Lines from the signature to the closing brace.
    pub(crate) lines: usize,
    /// Parameters without `self`.
    pub(crate) parameters: usize,
}

pub(crate) fn functions(source: &Source) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, line) in source.code.iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        let (signature, last) = signature(&source.code, at);
        if signature.ends_with(';') {
            continue;
        }
        found.push(Function {
            name: format!("{}:{}: {name}", source.path, at + 1),
            lines: body_end(&source.code, at, last) + 1 - at,
            parameters: count_parameters(&signature),
        });
    }
    found
}

/// Name of the function that is declared on this line.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.trim_start().split_once("fn ")?;
    let is_qualifier = |word: &str| {
        let known = ["pub", "const", "async", "unsafe", "extern"];
        known.contains(&word) || word.starts_with("pub(")
    };
    let is_declared = before.split_whitespace().all(is_qualifier);
    let end = after.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    (is_declared && end > 0).then(|| &after[..end])
}

/// The signature that begins on line `at`, and its last line.
fn signature(code: &[String], at: usize) -> (String, usize) {
    let mut signature = String::new();
    for (last, line) in code.iter().enumerate().skip(at) {
        signature.push_str(line);
        let opened = signature.matches('(').count();
        let is_whole = opened > 0 && opened == signature.matches(')').count();
        if is_whole && line.ends_with(['{', ';', '}']) {
            return (signature, last);
        }
    }
    panic!("no end of the signature: {signature}");
}

fn body_end(code: &[String], at: usize, last: usize) -> usize {
    if code[last].ends_with('}') {
        return last;
    }
    let indent = code[at].len() - code[at].trim_start().len();
    let closing = format!("{}}}", " ".repeat(indent));
    let end = (last..code.len()).find(|&line| code[line] == closing);
    end.unwrap_or_else(|| panic!("no end of the function: {}", code[at]))
}

fn count_parameters(signature: &str) -> usize {
    let mut parameters = vec![String::new()];
    let mut depth = 0;
    let mut is_inside = false;
    let mut before = ' ';
    let (_, from_name) = signature.split_once("fn ").expect("a function");
    for c in from_name.chars() {
        // Generics come before the parenthesis that counts: `fn f<F: Fn(u32)>(f: F)`.
        if c == '(' && depth == 0 {
            is_inside = true;
        }
        depth += match c {
            '(' | '[' | '{' | '<' => 1,
            '>' if before == '-' => 0,
            ')' | ']' | '}' | '>' => -1,
            _ => 0,
        };
        before = c;
        if is_inside && depth == 0 {
            break;
        }
        if is_inside && depth == 1 && c == ',' {
            parameters.push(String::new());
        } else if is_inside {
            parameters.last_mut().expect("never empty").push(c);
        }
    }
    let is_self = |text: &str| {
        let name = text.split(':').next().unwrap_or_default();
        name.ends_with("self")
    };
    let texts = parameters.iter().map(|text| text.trim_matches([' ', '(']));
    texts
        .filter(|text| !text.is_empty() && !is_self(text))
        .count()
}

#[test]
fn lengths_and_parameters_are_counted() {
    let text = "
impl A {
    pub(crate) async fn b<F: Fn(u32, u32) -> u32>(&mut self, c: (u8, u8), d: HashMap<u8, F>) {
        if true {
        }
    }
    fn e(
        self: Arc<Self>,
        f: u8,
    ) -> u8;
}
const fn g() {}
";
    let source = Source::new("a.rs", text);
    let found = functions(&source);
    let found: Vec<_> = found
        .iter()
        .map(|function| (&*function.name, function.lines, function.parameters))
        .collect();
    assert_eq!(found, [("a.rs:3: b", 4, 2), ("a.rs:12: g", 1, 0)]);
}
