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
