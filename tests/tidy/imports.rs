//! Who imports whom: paths of the code resolved to the files that define their items.
//!
//! A re-export is no import: `pub use draw::Sample` in `mod.rs` makes `super::Sample` an
//! import of `draw.rs`, not of `mod.rs`. It becomes an import of `mod.rs` only where
//! `mod.rs` uses the name itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::source::Source;

/// One import of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    /// File that imports.
    pub(crate) from: String,
    /// File that defines the item.
    pub(crate) to: String,
    /// The path as it stands in the code.
    pub(crate) path: String,
    /// First module of the path below the crate.
    pub(crate) module: String,
}

/// One leaf of a `use` declaration.
#[derive(Clone, Debug)]
struct Use {
    path: Vec<String>,
    /// Name in the importing file; `*` for a glob.
    name: String,
    is_reexport: bool,
}

/// A file and its paths.
#[derive(Debug)]
struct File<'a> {
    source: &'a Source,
    module: Vec<String>,
    uses: Vec<Use>,
    /// Paths outside of `use` declarations.
    paths: Vec<Vec<String>>,
    /// Names outside of `use` declarations.
    names: BTreeSet<String>,
    /// Items that the file defines, without those inside of others.
    definitions: BTreeSet<String>,
}

/// Where a path leads.
struct Target {
    /// Module of the file that defines the item.
    module: Vec<String>,
    /// Whether the path names a module, not an item in it.
    is_module: bool,
    /// First module of the path.
    first: String,
}

struct Crate<'a> {
    files: BTreeMap<Vec<String>, File<'a>>,
}

/// All imports between files of the crate.
pub(crate) fn imports(sources: &[Source]) -> BTreeSet<Import> {
    let library = sources.iter().filter(|source| source.path != "main.rs");
    let files = library
        .map(File::new)
        .map(|file| (file.module.clone(), file));
    let all = Crate {
        files: files.collect(),
    };
    let mut found = BTreeSet::new();
    for file in all.files.values().filter(|file| !file.module.is_empty()) {
        let used = file.uses.iter().filter(|used| {
            // Without another mention a re-export only passes the name on.
            !used.is_reexport || file.names.contains(&used.name)
        });
        let paths = used.map(|used| &used.path).chain(&file.paths);
        found.extend(paths.filter_map(|path| all.import(file, path)));
    }
    found
}

impl<'a> Crate<'a> {
    fn import(&self, file: &File<'_>, path: &[String]) -> Option<Import> {
        let target = self.resolve(&file.module, path, 0)?;
        let to = &self.files[&target.module].source.path;
        // Paths through an imported module name their items themselves.
        if target.is_module || *to == file.source.path {
            return None;
        }
        Some(Import {
            from: file.source.path.clone(),
            to: to.clone(),
            path: path.join("::"),
            module: target.first,
        })
    }

    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Option<Target> {
        assert!(depth < 16, "re-exports go round: {from:?} {path:?}");
        let (mut module, mut rest) = self.start(from, path, depth)?;
        let mut first = module.first().cloned();
        while let [next, tail @ ..] = rest {
            let mut below = module.clone();
            below.push(next.clone());
            let is_last = tail.is_empty() || tail == ["*"];
            let is_item = is_last && tail.is_empty() && self.files[&module].exports(next);
            if !self.files.contains_key(&below) || is_item {
                break;
            }
            (module, rest) = (below, tail);
            first = first.or_else(|| module.first().cloned());
        }
        let first = first.unwrap_or_else(|| rest.first().cloned().unwrap_or_default());
        let Some(item) = rest.first() else {
            return Some(Target {
                module,
                is_module: true,
                first,
            });
        };
        let module = self.definition(&module, item, depth).unwrap_or(module);
        Some(Target {
            module,
            is_module: false,
            first,
        })
    }

    /// The module that a path starts from, and the rest of the path.
    fn start<'p>(
        &self,
        from: &[String],
        path: &'p [String],
        depth: usize,
    ) -> Option<(Vec<String>, &'p [String])> {
        let mut module = from.to_vec();
        let mut rest = path;
        match &*path[0] {
            "crate" => return Some((Vec::new(), &path[1..])),
            "self" => return Some((module, &path[1..])),
            "super" => {
                while rest.first().is_some_and(|part| part == "super") {
                    module.pop()?;
                    rest = &rest[1..];
                }
                return Some((module, rest));
            }
            name => {
                module.push(name.to_owned());
                if self.files.contains_key(&module) {
                    module.pop();
                    return Some((module, rest));
                }
            }
        }
        // The name of a module that was imported.
        let imported = self.files[from].uses.iter().find(|used| {
            used.name == path[0] && used.path != path[..1] && used.path.last() != path.last()
        })?;
        let target = self.resolve(from, &imported.path, depth + 1)?;
        target.is_module.then(|| (target.module, &path[1..]))
    }

    /// The module that defines `item`, which `module` may only re-export.
    fn definition(&self, module: &[String], item: &str, depth: usize) -> Option<Vec<String>> {
        let file = &self.files[module];
        if file.defines(item) {
            return None;
        }
        let named = file.uses.iter().find(|used| used.name == item);
        if let Some(used) = named {
            return self
                .resolve(module, &used.path, depth + 1)
                .map(|target| target.module);
        }
        let mut globs = file.uses.iter().filter(|used| used.name == "*");
        globs.find_map(|glob| {
            let target = self.resolve(module, &glob.path[..glob.path.len() - 1], depth + 1)?;
            self.files[&target.module]
                .defines(item)
                .then_some(target.module)
        })
    }
}

impl<'a> File<'a> {
    fn new(source: &'a Source) -> Self {
        let mut file = Self {
            source,
            module: source.module(),
            uses: Vec::new(),
            paths: Vec::new(),
            names: BTreeSet::new(),
            definitions: BTreeSet::new(),
        };
        let tokens = tokens(source);
        file.definitions = definitions(&tokens);
        let mut at = 0;
        while at < tokens.len() {
            let is_use = tokens[at] == "use" && tokens.get(at + 1).is_some_and(|t| t != "<");
            at = if is_use {
                file.read_use(&tokens, at)
            } else {
                file.read_path(&tokens, at)
            };
        }
        file
    }

    /// Reads the `use` declaration at `at`, and returns where it ends.
    fn read_use(&mut self, tokens: &[String], at: usize) -> usize {
        let is_reexport = at > 0 && ["pub", ")"].contains(&&*tokens[at - 1]);
        let end = at + tokens[at..].iter().position(|t| t == ";").expect("a ;");
        let mut leaves = Vec::new();
        read_tree(&tokens[at + 1..end], &[], &mut leaves);
        self.uses.extend(leaves.into_iter().map(|(path, name)| Use {
            path,
            name,
            is_reexport,
        }));
        end + 1
    }

    /// Reads the path or other token at `at`, and returns where it ends.
    fn read_path(&mut self, tokens: &[String], at: usize) -> usize {
        let mut path = vec![tokens[at].clone()];
        let mut end = at + 1;
        while tokens.get(end).is_some_and(|t| t == "::")
            && tokens.get(end + 1).is_some_and(|t| is_name(t))
        {
            path.push(tokens[end + 1].clone());
            end += 2;
        }
        let is_declared = at > 0 && tokens[at - 1] == "mod";
        if !is_declared {
            self.names.extend(path.iter().cloned());
        }
        if path.len() > 1 && is_name(&path[0]) {
            self.paths.push(path);
        }
        end
    }

    /// Whether the file defines an item of this name.
    fn defines(&self, item: &str) -> bool {
        self.definitions.contains(item)
    }

    /// Whether `item` is an item of this file, defined or re-exported, beside a module of
    /// that name: `mod merge; pub use merge::merge;`.
    fn exports(&self, item: &str) -> bool {
        let is_item = |used: &Use| used.name == item && used.path.last().is_some_and(|n| n == item);
        self.defines(item) || self.uses.iter().any(|u| is_item(u) && u.path.len() > 1)
    }
}

/// Items outside of any braces. `mod x;` defines nothing, `mod x {` does.
fn definitions(tokens: &[String]) -> BTreeSet<String> {
    let kinds = [
        "fn", "struct", "enum", "trait", "type", "const", "static", "union", "mod",
    ];
    let mut found = BTreeSet::new();
    let mut depth = 0;
    for part in tokens.windows(3) {
        match &*part[0] {
            "{" => depth += 1,
            "}" => depth -= 1,
            "mod" if part[2] == ";" => {}
            "macro_rules" if depth == 0 => _ = found.insert(part[2].clone()),
            kind if depth == 0 && kinds.contains(&kind) => _ = found.insert(part[1].clone()),
            _ => {}
        }
    }
    found
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names, `::`, and single marks of the code.
fn tokens(source: &Source) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    for line in &source.code {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let is_part = |c: char| c.is_alphanumeric() || c == '_';
            let length = if is_part(first) {
                rest.find(|c| !is_part(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            tokens.push(rest[..length].to_owned());
            rest = rest[length..].trim_start();
        }
    }
    tokens
}

/// Adds the leaves of a tree of imports, as paths and names.
fn read_tree(tokens: &[String], prefix: &[String], leaves: &mut Vec<(Vec<String>, String)>) {
    let mut path = prefix.to_vec();
    let mut at = 0;
    while at < tokens.len() {
        match &*tokens[at] {
            "::" => {}
            "{" => {
                let inner = &tokens[at + 1..tokens.len() - 1];
                for branch in branches(inner) {
                    read_tree(branch, &path, leaves);
                }
                return;
            }
            "as" => {
                leaves.push((path, tokens[at + 1].clone()));
                return;
            }
            // In a tree, `self` is the module itself.
            "self" if !path.is_empty() => {}
            part => path.push(part.to_owned()),
        }
        at += 1;
    }
    let name = path.last().expect("a path").clone();
    leaves.push((path, name));
}

/// The branches of a tree, which commas outside of braces part.
fn branches(tokens: &[String]) -> Vec<&[String]> {
    let mut depth = 0;
    let parts = tokens.split(|token| {
        depth += match &**token {
            "{" => 1,
            "}" => -1,
            _ => 0,
        };
        depth == 0 && token == ","
    });
    parts.filter(|part| !part.is_empty()).collect()
}

/// Groups of files that import each other, directly or through others, each with the
/// shortest way round.
pub(crate) fn circles(imports: &BTreeSet<Import>) -> Vec<String> {
    let mut reported: BTreeSet<&str> = BTreeSet::new();
    let mut found = Vec::new();
    let files: BTreeSet<&str> = imports.iter().map(|import| &*import.from).collect();
    for file in files {
        if reported.contains(file) {
            continue;
        }
        if let Some(circle) = shortest_circle(imports, file) {
            let names: Vec<&str> = circle.iter().map(|import| &*import.from).collect();
            let steps = circle
                .iter()
                .map(|import| format!("{} uses {} of {}", import.from, import.path, import.to));
            found.push(steps.collect::<Vec<_>>().join(", "));
            reported.extend(names);
        }
    }
    found
}

fn shortest_circle<'a>(imports: &'a BTreeSet<Import>, start: &str) -> Option<Vec<&'a Import>> {
    let mut open = VecDeque::from([(start, Vec::new())]);
    let mut seen = BTreeSet::new();
    while let Some((file, way)) = open.pop_front() {
        for import in imports.iter().filter(|import| import.from == file) {
            let mut way = way.clone();
            way.push(import);
            if import.to == start {
                return Some(way);
            }
            if seen.insert(&*import.to) {
                open.push_back((&import.to, way));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(files: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut sources = vec![Source::new("lib.rs", "pub mod a;")];
        sources.extend(files.iter().map(|(path, text)| Source::new(path, text)));
        let found = imports(&sources);
        found.into_iter().map(|i| (i.from, i.to)).collect()
    }

    fn edge(from: &str, to: &str) -> (String, String) {
        (from.to_owned(), to.to_owned())
    }

    #[test]
    fn an_import_of_a_reexport_leads_to_the_definition() {
        let found = edges(&[
            ("a/mod.rs", "mod b; mod c; pub use b::{B, b};"),
            ("a/b.rs", "pub struct B; pub fn b() {}"),
            ("a/c.rs", "use super::{B, b}; fn c() { crate::a::b(); }"),
        ]);
        assert_eq!(found, vec![edge("a/c.rs", "a/b.rs"); 3]);
    }

    #[test]
    fn a_name_that_is_passed_on_counts_only_where_it_is_used() {
        let passed = ("a/mod.rs", "mod b; pub use b::B;");
        let used = ("a/mod.rs", "mod b; pub use b::B; fn f(_: B) {}");
        let inline = ("a/mod.rs", "mod b; fn f() { b::b() }");
        let b = ("a/b.rs", "pub struct B;");
        assert_eq!(edges(&[passed, b]), []);
        assert_eq!(edges(&[used, b]), [edge("a/mod.rs", "a/b.rs")]);
        assert_eq!(edges(&[inline, b]), [edge("a/mod.rs", "a/b.rs")]);
    }

    #[test]
    fn paths_through_an_imported_module_are_followed() {
        let found = edges(&[
            ("a/mod.rs", "mod b; mod c;"),
            ("a/b.rs", "pub fn f() {}"),
            (
                "a/c.rs",
                "use crate::a::b; use std::fs; fn g() { b::f(); fs::read(); }",
            ),
        ]);
        assert_eq!(found, [edge("a/c.rs", "a/b.rs")]);
    }

    #[test]
    fn a_circle_is_found_and_told_step_by_step() {
        let mut sources = [
            Source::new("lib.rs", "mod a;"),
            Source::new(
                "a/mod.rs",
                "mod b; mod c; pub use b::B; pub struct A; fn f() { c::C; }",
            ),
            Source::new("a/b.rs", "use super::c::C; pub struct B;"),
            Source::new("a/c.rs", "use super::{A, B}; pub struct C;"),
        ];
        let first = "a/b.rs uses super::c::C of a/c.rs, a/c.rs uses super::B of a/b.rs";
        let second = "a/mod.rs uses c::C of a/c.rs, a/c.rs uses super::A of a/mod.rs";
        assert_eq!(circles(&imports(&sources)), [first, second]);
        sources[3] = Source::new("a/c.rs", "pub struct C;");
        assert_eq!(circles(&imports(&sources)), Vec::<String>::new());
    }
}
