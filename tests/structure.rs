//! The structure of the code, as ARCHITECTURE.md tells it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What each file of a folder imports of the same folder, by module name.
fn imports(folder: &str) -> BTreeMap<String, BTreeSet<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder);
    let files = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let modules: BTreeMap<String, String> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(path).unwrap();
            // What only tests import is no part of the structure.
            let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
            (name, text)
        })
        .collect();
    let module = format!("crate::{}::", folder.replace('/', "::"));
    let imports_of = |text: &str| -> BTreeSet<String> {
        let named = named_after(text, "super::").into_iter().chain(named_after(text, &module));
        named.filter(|name| modules.contains_key(name)).collect()
    };
    let all = modules.iter().filter(|(name, _)| *name != "mod");
    all.map(|(name, text)| (name.clone(), imports_of(text))).collect()
}

/// The first names of the paths that follow a prefix, those in braces too.
fn named_after(text: &str, prefix: &str) -> BTreeSet<String> {
    let first =
        |path: &str| path.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap().to_owned();
    let mut named = BTreeSet::new();
    for (at, _) in text.match_indices(prefix) {
        let rest = &text[at + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            named.insert(first(rest));
            continue;
        };
        let (mut depth, mut begins) = (0, 0);
        for (at, character) in group.char_indices() {
            match (character, depth) {
                ('{', _) => depth += 1,
                (',' | '}', 0) => {
                    named.insert(first(&group[begins..at]));
                    begins = at + 1;
                    if character == '}' {
                        break;
                    }
                }
                ('}', _) => depth -= 1,
                _ => {}
            }
        }
    }
    named
}

#[test]
fn imports_are_found_in_braces_too() {
    let text = "use super::{a, b::{c, d}, e as f};\nuse super::g::h;\nfn i() { super::j::k() }";
    let named: Vec<String> = named_after(text, "super::").into_iter().collect();
    assert_eq!(named, ["a", "b", "e", "g", "j"]);
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
fn cluster_has_no_import_cycle() {
    let imports = imports("cluster");
    assert!(imports.len() > 5, "{imports:?}");
    assert!(imports["writer"].contains("confirm"), "imports are found: {imports:?}");
    assert_eq!(find_cycle(&imports), None);
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

/// What is for any kind does not know the kinds, nor who uses it.
#[test]
fn cluster_imports_nothing_from_above() {
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cluster")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let above = ["kinds", "controllers", "runtime", "install", "sinks"];
            let named = named_after(&std::fs::read_to_string(&path).unwrap(), "crate::");
            assert!(above.iter().all(|above| !named.contains(*above)), "{} names {named:?}", path.display());
        }
    }
}

/// Pure code names no client, no runtime and no clock.
#[test]
fn pure_code_names_no_client_no_runtime_and_no_clock() {
    for folder in ["api", "model", "plan", "admission"] {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                if path.extension().is_none_or(|extension| extension != "rs") {
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                for word in
                    ["kube::Client", "kube::Api", "tokio::", "Timestamp::now", "SystemTime", "crate::cluster"]
                {
                    assert!(!text.contains(word), "{} names {word}", path.display());
                }
            }
        }
    }
}

/// What looks at everything that there is of a kind, or enqueues it.
const SCANS: [&str; 7] = [
    ".all()",
    ".all_keys()",
    ".unpacked()",
    "Cache::all",
    "Cache::unpacked",
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
    assert_eq!(scans("fn a() {}\nasync fn b() {\n    let c = d\n        .unpacked();\n}"), "b");
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
        ("kinds/caches.rs", "wait_until_filled", 1),
        // There are as many admission policies as the operator has.
        ("kinds/caches.rs", "unshare", 1),
        // By a defect of this program nobody knows whom a change concerns.
        ("kinds/caches.rs", "enqueue_change", 1),
        // Cilium's policies are known for the first time, so connections to names can be enforced.
        ("kinds/caches.rs", "run_cilium", 1),
        // When Cilium goes.
        ("kinds/enqueue.rs", "on_definition", 1),
        // When the admission policies are others than before.
        ("kinds/enqueue.rs", "compare_policies", 1),
        // What these are for, and nothing else calls for it.
        ("kinds/enqueue.rs", "enqueue_everything", 2),
        ("kinds/rbac/watches.rs", "enqueue_all_revocations", 2),
        // When this process begins to lead.
        ("controllers/revocation.rs", "sweep", 1),
        ("runtime/run.rs", "lead", 1),
    ];
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut found) = (vec![src.clone()], BTreeMap::new());
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && path.file_name().is_some_and(|name| name != "tests.rs")
            {
                let file = path.strip_prefix(&src).unwrap().to_str().unwrap().to_owned();
                for function in find_scans(&std::fs::read_to_string(&path).unwrap()) {
                    *found.entry((file.clone(), function)).or_insert(0) += 1;
                }
            }
        }
    }
    let allowed: BTreeMap<(String, String), i32> =
        allowed.map(|(file, function, times)| ((file.to_owned(), function.to_owned()), times)).into();
    assert_eq!(found, allowed, "look things up through an index, or say here why everything is looked at");
}
