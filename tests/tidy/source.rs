//! Source files as text: without comments, literals and tests.

use std::fs;
use std::path::Path;

/// One file of `src`, reduced to what the checks read.
#[derive(Debug)]
pub(crate) struct Source {
    /// Path below `src`.
    pub(crate) path: String,
    /// The file as it is on disk.
    pub(crate) text: String,
    /// Lines with comments, literals and test items blanked.
    pub(crate) code: Vec<String>,
    /// Number of lines that belong to test items.
    pub(crate) test_lines: usize,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let mut code: Vec<String> = blank(text).lines().map(str::to_owned).collect();
        let test_lines = drop_tests(&mut code);
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            test_lines,
        }
    }

    /// Number of lines without those of tests.
    pub(crate) fn lines(&self) -> usize {
        self.code.len() - self.test_lines
    }

    /// Path of the module: `a/b.rs` and `a/b/mod.rs` are both `[a, b]`.
    pub(crate) fn module(&self) -> Vec<String> {
        let path = self.path.strip_suffix(".rs").expect("a Rust file");
        let path = path.strip_suffix("/mod").unwrap_or(path);
        if path == "lib" {
            return Vec::new();
        }
        path.split('/').map(str::to_owned).collect()
    }

    /// Whether a line of code contains `word` as a whole word.
    pub(crate) fn has_word(&self, word: &str) -> bool {
        self.code.iter().any(|line| words(line).any(|w| w == word))
    }
}

/// Identifiers and keywords of a line.
pub(crate) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

/// All files below `src`, but for those that hold nothing but tests.
pub(crate) fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).expect("a source");
            let name = path.strip_prefix(&root).expect("below src");
            found.push(Source::new(name.to_str().expect("UTF-8"), &text));
        }
    }
    let tests = test_modules(&found);
    found.retain(|source| !tests.contains(&source.module()));
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 40, "only {} files were found", found.len());
    found
}

/// Modules that are declared for tests only.
fn test_modules(sources: &[Source]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for source in sources {
        let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
        for pair in lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]") {
            let declared = words(pair[1]).skip_while(|&word| word != "mod").nth(1);
            if let (Some(name), true) = (declared, pair[1].ends_with(';')) {
                let mut module = source.module();
                module.push(name.to_owned());
                found.push(module);
            }
        }
    }
    found
}

/// Blanks the items below `#[cfg(test)]`, and returns how many lines they have. Relies on
/// the layout of rustfmt: an item ends at the indent at which it began.
fn drop_tests(code: &mut [String]) -> usize {
    let mut dropped = 0;
    let mut at = 0;
    while at < code.len() {
        if code[at].trim() != "#[cfg(test)]" {
            at += 1;
            continue;
        }
        let end = item_end(code, at + 1);
        for line in &mut code[at..=end] {
            line.clear();
        }
        dropped += end + 1 - at;
        at = end + 1;
    }
    dropped
}

/// Last line of the item that begins at or below `first`, which may be an attribute.
fn item_end(code: &[String], first: usize) -> usize {
    let is_attribute = |line: &String| line.trim_start().starts_with("#[");
    let start = (first..code.len()).find(|&at| !is_attribute(&code[at]));
    let start = start.expect("an item below its attributes");
    if code[start].ends_with([';', '}']) {
        return start;
    }
    let indent = code[start].len() - code[start].trim_start().len();
    let closes = |line: &String| {
        let inner = line.get(indent..).unwrap_or_default();
        ["}", "];", ");"].iter().any(|end| inner.starts_with(end))
    };
    let end = (start + 1..code.len()).find(|&at| closes(&code[at]));
    end.expect("the end of an item")
}

/// Replaces comments and the contents of literals by spaces; lines stay lines.
pub(crate) fn blank(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let length = token_to_blank(&chars[at..], out.chars().last());
        if length == 0 {
            out.push(chars[at]);
            at += 1;
            continue;
        }
        let blanked = chars[at..at + length].iter();
        out.extend(blanked.map(|&c| if c == '\n' { '\n' } else { ' ' }));
        at += length;
    }
    let lines: Vec<&str> = out.lines().map(str::trim_end).collect();
    lines.join("\n")
}

/// Length of the comment or literal that `rest` begins with, or 0.
fn token_to_blank(rest: &[char], before: Option<char>) -> usize {
    let second = rest.get(1).copied();
    match rest[0] {
        '/' if second == Some('/') => length_until(rest, |tail| tail[0] == '\n'),
        '/' if second == Some('*') => length_until(rest, |tail| tail.starts_with(&['*', '/'])) + 2,
        '"' => quoted(rest, '"'),
        // A lifetime has no closing quote.
        '\'' if second == Some('\\') || rest.get(2) == Some(&'\'') => quoted(rest, '\''),
        'r' if !before.is_some_and(|c| c.is_alphanumeric() || c == '_') => raw_string(rest),
        _ => 0,
    }
}

fn length_until(rest: &[char], is_end: impl Fn(&[char]) -> bool) -> usize {
    (0..rest.len())
        .find(|&at| is_end(&rest[at..]))
        .unwrap_or(rest.len())
}

fn quoted(rest: &[char], quote: char) -> usize {
    let mut at = 1;
    while rest[at] != quote {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string(rest: &[char]) -> usize {
    let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let mut end = vec!['"'];
    end.extend(vec!['#'; hashes]);
    let open = hashes + 2;
    open + length_until(&rest[open..], |tail| tail.starts_with(&end)) + end.len()
}

#[test]
fn comments_literals_and_tests_are_blanked() {
    let text = "let a = \"b // c\"; // d\nlet e: &'f str = r#\"g\"h\"#; /* i\nj */ let k = '\\'';\n\
                #[cfg(test)]\nmod tests {\n    fn l() {\n    }\n}\nfn m() {}\n";
    let source = Source::new("n/mod.rs", text);
    let found: Vec<&str> = source.code.iter().flat_map(|line| words(line)).collect();
    let expected = ["let", "a", "let", "e", "f", "str", "let", "k", "fn", "m"];
    assert_eq!(found, expected);
    assert_eq!((source.lines(), source.test_lines), (4, 5));
    assert_eq!(source.module(), ["n"]);
}
