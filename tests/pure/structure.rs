//! The structure of the code, as ARCHITECTURE.md tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use enclave_operator::api::Kind;

/// The text of each file in `src` that is not a test, by its module path, for example `kinds::enclave::plan`.
fn modules() -> BTreeMap<String, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut modules) = (vec![src.clone()], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && path.file_name().is_some_and(|name| name != "tests.rs")
            {
                let module = path.strip_prefix(&src).unwrap().with_extension("");
                let module = module.to_str().unwrap().replace('/', "::");
                let module = module.strip_suffix("::mod").unwrap_or(&module).to_owned();
                modules.insert(module, code_of(&std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    modules
}

/// A text without comments and without what only tests import, which stands at its end and is no part of the structure.
fn code_of(text: &str) -> String {
    if let Some((_, rest)) = text.split_once("#[cfg(test)]\nmod tests;") {
        assert!(rest.trim().is_empty(), "the tests of a module come last: {rest:.100}");
    }
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths that a text names after a prefix such as `crate::`, those in braces too.
fn paths_after(text: &str, prefix: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for (at, _) in text.match_indices(prefix) {
        // `super::super::` is found once.
        let is_inside = text[..at].ends_with("super::")
            || text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
            || (prefix != "super::" && text[..at].ends_with("::"));
        if !is_inside {
            flatten(&text[at + prefix.len()..], "", &mut paths);
        }
    }
    paths
}

/// Adds the paths of a tree of imports to `paths`, and returns how long the tree is.
fn flatten(tree: &str, before: &str, paths: &mut BTreeSet<String>) -> usize {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let end = tree.find(|c| !is_part(c)).unwrap_or(tree.len());
    let path = format!("{before}{}", &tree[..end]);
    let is_tree = (path.is_empty() || path.ends_with("::")) && tree[end..].starts_with('{');
    if !is_tree {
        paths.insert(path);
        return end;
    }
    let mut at = end + 1;
    while let Some(rest) = tree.get(at..)
        && !rest.starts_with('}')
        && !rest.is_empty()
    {
        let skipped = rest.find(|c| is_part(c) || c == '}').unwrap_or(rest.len());
        at += skipped;
        let rest = &tree[at..];
        if rest.starts_with(is_part) {
            at += flatten(rest, &path, paths);
            // Another name for it.
            if let Some(alias) = tree[at..].strip_prefix(" as ") {
                at += " as ".len() + alias.find(|c| !is_part(c)).unwrap_or(alias.len());
            }
        }
    }
    at + 1
}

/// What each file imports of the others.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let modules = modules();
    // The file in which a path leads to something.
    let find = |path: &str| {
        let mut path = path.trim_end_matches(':');
        loop {
            if modules.contains_key(path) {
                return Some(path.to_owned());
            }
            path = path.rsplit_once("::")?.0;
        }
    };
    let imports_of = |module: &str, text: &str| -> BTreeSet<String> {
        let mut paths = paths_after(text, "crate::");
        paths.extend(paths_after(text, "self::").iter().map(|path| format!("{module}::{path}")));
        for path in paths_after(text, "super::") {
            let (mut parent, mut rest) =
                (module.rsplit_once("::").map_or("", |(parent, _)| parent), path.as_str());
            while let Some(further) = rest.strip_prefix("super::") {
                (parent, rest) = (parent.rsplit_once("::").map_or("", |(parent, _)| parent), further);
            }
            paths.insert(format!("{parent}::{rest}"));
        }
        // Paths of a module of one's own may begin with its name. What is only handed on is no import.
        for child in children_of(text) {
            let uses = text.lines().filter(|line| !line.trim_start().starts_with("pub"));
            let uses = uses.collect::<Vec<_>>().join("\n");
            let bare = paths_after(&uses, &format!("{child}::"));
            paths.extend(bare.iter().map(|path| format!("{module}::{child}::{path}")));
        }
        paths.iter().filter_map(|path| find(path)).filter(|found| found != module).collect()
    };
    modules.iter().map(|(module, text)| (module.clone(), imports_of(module, text))).collect()
}

/// The names of the modules that a text declares in files of their own.
fn children_of(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let (before, after) = line.split_once("mod ")?;
        let is_declaration = before.is_empty() || before.starts_with("pub");
        after.strip_suffix(';').filter(|_| is_declaration)
    })
}

/// The first names of the paths that follow a prefix, those in braces too.
fn named_after(text: &str, prefix: &str) -> BTreeSet<String> {
    let first = |path: &String| path.split("::").next().unwrap_or_default().to_owned();
    paths_after(text, prefix).iter().map(first).collect()
}

#[test]
fn imports_are_found_in_braces_too() {
    let text = "use super::{a, b::{c, d as h}, e as f};\nuse super::g::h;\nfn i() { super::j::k() }";
    let paths: Vec<String> = paths_after(text, "super::").into_iter().collect();
    assert_eq!(paths, ["a", "b::c", "b::d", "e", "g::h", "j::k"]);
    let named: Vec<String> = named_after(text, "super::").into_iter().collect();
    assert_eq!(named, ["a", "b", "e", "g", "j"]);
    let imports = imports();
    assert!(imports.len() > 100, "{imports:?}");
    assert!(imports["controllers::writer"].contains("cluster::confirm"), "{imports:?}");
    assert!(imports["kinds::enclave"].contains("kinds::enclave::plan"), "{imports:?}");
    assert!(imports["kinds::enclave::plan"].contains("plan::gated"), "{imports:?}");
    assert!(imports["controllers"].contains("controllers::retention"), "a bare path: {imports:?}");
}

/// A way from a module back to itself, if there is one.
fn find_cycle(imports: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(
        imports: &BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
        at: &str,
    ) -> bool {
        if way.iter().any(|module| module == at) {
            way.push(at.to_owned());
            return true;
        }
        if !done.insert(at.to_owned()) {
            return false;
        }
        way.push(at.to_owned());
        for next in imports.get(at).into_iter().flatten().filter(|next| *next != at) {
            if visit(imports, way, done, next) {
                return true;
            }
        }
        way.pop();
        false
    }
    let (mut way, mut done) = (Vec::new(), BTreeSet::new());
    imports.keys().any(|module| visit(imports, &mut way, &mut done, module)).then_some(way)
}

#[test]
fn no_file_imports_itself_in_a_circle() {
    assert_eq!(find_cycle(&imports()), None);
}

#[test]
fn a_cycle_would_be_found() {
    let imports = |pairs: &[(&str, &str)]| -> BTreeMap<String, BTreeSet<String>> {
        let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in pairs {
            imports.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        imports
    };
    assert!(find_cycle(&imports(&[("a", "b"), ("b", "c"), ("c", "a")])).is_some());
    assert_eq!(find_cycle(&imports(&[("a", "b"), ("a", "c"), ("b", "c")])), None);
}

/// From the bottom to the top. What stands beside another one imports nothing of it.
const LAYERS: [&[&str]; 11] = [
    &["api"],
    &["model", "sinks"],
    &["admission", "plan"],
    &["cluster"],
    &["kinds"],
    &["install", "telemetry"],
    &["controllers", "notify"],
    &["audit"],
    &["runtime"],
    &["lib"],
    &["main"],
];

#[test]
fn imports_point_down() {
    let layer = |module: &str| {
        let folder = module.split("::").next().unwrap_or_default();
        LAYERS
            .iter()
            .position(|folders| folders.contains(&folder))
            .unwrap_or_else(|| panic!("no layer has {folder}"))
    };
    let mut wrong = Vec::new();
    for (module, imports) in imports() {
        for other in imports {
            let same = module.split("::").next() == other.split("::").next();
            if !same && layer(&other) >= layer(&module) {
                wrong.push(format!("{module} imports {other}"));
            }
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

/// What talks to the API server does so for any kind.
#[test]
fn cluster_names_no_kind() {
    for (module, text) in modules().into_iter().filter(|(module, _)| module.starts_with("cluster")) {
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        let kinds: BTreeSet<&str> =
            words.filter(|word| Kind::ALL.iter().any(|kind| kind.name() == *word)).collect();
        assert_eq!(kinds, BTreeSet::new(), "{module}");
    }
}

/// Only these talk to the API server.
#[test]
fn clients_are_named_in_these_places_only() {
    let is_allowed = |module: &str| {
        let folder = module.split("::").next().unwrap_or_default();
        ["cluster", "runtime", "main", "sinks"].contains(&folder)
            || ["apply", "writer"].iter().any(|file| module == format!("controllers::{file}"))
            // Reads beside the watches, and the start of those.
            || ["backfill", "listing", "watch"].iter().any(|file| module == format!("kinds::{file}"))
            // The Secret in which a Community says where notifications go.
            || module == "notify"
    };
    let names_client = |text: &str| {
        let words: BTreeSet<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        words.contains("Client") || words.contains("Api")
    };
    let modules = modules();
    assert!(names_client(&modules["cluster::writes"]) && names_client(&modules["notify"]));
    let others: Vec<_> = modules
        .iter()
        .filter(|(module, text)| !is_allowed(module) && names_client(text))
        .map(|(module, _)| module)
        .collect();
    assert_eq!(others, Vec::<&String>::new());
}

/// Pure code names no client, no runtime and no clock.
#[test]
fn pure_code_names_no_client_no_runtime_and_no_clock() {
    let is_pure = |module: &str| {
        let folder = module.split("::").next().unwrap_or_default();
        ["api", "model", "plan", "admission"].contains(&folder) || is_plan_of_a_kind(module)
    };
    let pure: Vec<_> = modules().into_iter().filter(|(module, _)| is_pure(module)).collect();
    assert!(pure.iter().filter(|(module, _)| is_plan_of_a_kind(module)).count() > 8);
    for (module, text) in pure {
        for word in ["kube::Client", "kube::Api", "tokio::", "Timestamp::now", "SystemTime", "crate::cluster"]
        {
            assert!(!text.contains(word), "{module} names {word}");
        }
    }
}

/// For example `kinds::enclave::plan`.
fn is_plan_of_a_kind(module: &str) -> bool {
    module.starts_with("kinds::") && module.split("::").nth(2) == Some("plan")
}

/// What looks at everything that there is of a kind, or enqueues it.
const SCANS: [&str; 7] = [
    ".all()",
    ".all_keys()",
    ".all_decoded()",
    "Cache::all",
    "Cache::all_decoded",
    "enqueue_everything",
    "enqueue_all_revocations",
];

/// The functions that scan, each as often as it does.
fn find_scans(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    let (mut function, mut scans) = (String::new(), Vec::new());
    let is_code = |line: &&str| !line.starts_with("//") && !line.starts_with("use ");
    for line in text.lines().map(str::trim_start).filter(is_code) {
        if let Some(name) = named_after(line, "fn ").pop_first() {
            function = name;
        }
        for scan in SCANS {
            let used = line.match_indices(scan).filter(|(at, _)| !line[..*at].ends_with("fn "));
            scans.extend(used.map(|_| function.clone()));
        }
    }
    scans
}

#[test]
fn a_scan_would_be_found() {
    let scans = |text: &str| find_scans(text).join(" ");
    assert_eq!(scans("fn on_enclave() {\n    for one in caches.enclaves.all() {}\n}"), "on_enclave");
    assert_eq!(scans("fn a() {}\nasync fn b() {\n    let c = d\n        .all_decoded();\n}"), "b");
    assert_eq!(scans("fn plan() { cache.all(); cache.all() }"), "plan plan");
    assert_eq!(scans("fn a() { b.map(Cache::all) }"), "a");
    assert_eq!(scans("fn a() { self.enqueue_everything(); roles::enqueue_all_revocations(self) }"), "a a");
    for none in [
        "pub fn enqueue_all_revocations(enqueuer: &Enqueuer) {}",
        "use roles::enqueue_all_revocations;",
        "fn a() { b.iter().all(|c| d) }",
        "/// As [`Cache::all`].",
        "#[cfg(test)]\nmod tests { fn a() { b.all() } }",
    ] {
        assert_eq!(scans(none), "", "{none}");
    }
}

/// An event costs what it concerns and not what exists, so everything is looked at only when everything is concerned.
#[test]
fn everything_is_looked_at_in_these_places_only() {
    let allowed = [
        // At the start, for the one definition that is watched.
        ("kinds::caches", "wait_until_filled", 1),
        // There are as many admission policies as the operator has.
        ("kinds::caches", "clone_all", 1),
        // By a defect of this program nobody knows whom a change concerns.
        ("kinds::intake", "enqueue_change", 1),
        // Cilium's policies are known for the first time, so connections to names can be enforced.
        ("kinds::watch", "run_cilium", 1),
        // When Cilium goes.
        ("kinds::changes", "on_definition", 1),
        // When the admission policies are others than before.
        ("kinds::changes", "compare_policies", 1),
        // What these are for, and nothing else calls for it.
        ("kinds::changes", "enqueue_everything", 2),
        ("kinds::rbac::watches", "enqueue_all_revocations", 2),
        // When this process begins to lead.
        ("controllers::revocation", "revoke_all", 1),
        ("runtime::run", "lead", 1),
    ];
    let mut found = BTreeMap::new();
    for (module, text) in modules() {
        for function in find_scans(&text) {
            *found.entry((module.clone(), function)).or_insert(0) += 1;
        }
    }
    let allowed: BTreeMap<(String, String), i32> =
        allowed.map(|(file, function, times)| ((file.to_owned(), function.to_owned()), times)).into();
    assert_eq!(found, allowed, "look things up through an index, or say here why everything is looked at");
}
