//! The words of the code and of the documents: terms of Kubernetes and of the field, those of docs/glossary.md, and
//! plain English, as tests/words.txt lists them. So a new word of our own is a decision.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Heads the words that identifiers must not have, except those of tests, whose names are sentences.
const PROSE: &str = "# Plain English, in documents and tests only";

/// Words, each with the place of its first use.
type Words = BTreeMap<String, String>;

/// Adds the words of a text. `snake_case` and `CamelCase` are two words each, `CRDs` is one. Letters are no words.
fn add(words: &mut Words, path: &Path, text: &str) {
    for (number, line) in text.lines().enumerate() {
        for part in line.split(|c: char| !c.is_alphabetic()) {
            let acronym = part.strip_suffix('s').filter(|acronym| acronym.ends_with(char::is_uppercase));
            let letters: Vec<char> = acronym.unwrap_or(part).chars().collect();
            let is_lower = |at: usize| letters.get(at).is_some_and(|letter| letter.is_lowercase());
            let mut parts = vec![String::new()];
            for (at, letter) in letters.iter().enumerate() {
                if at > 0 && letter.is_uppercase() && (is_lower(at - 1) || is_lower(at + 1)) {
                    parts.push(String::new());
                }
                parts.last_mut().unwrap().extend(letter.to_lowercase());
            }
            for word in parts.into_iter().filter(|word| word.chars().count() > 1) {
                words.entry(word).or_insert_with(|| format!("{}:{}", path.display(), number + 1));
            }
        }
    }
}

/// Returns the code of a Rust text, line by line, without comments, strings and characters.
fn code_of(text: &str) -> String {
    let text = text.replace(r"\\", "_").replace("\\\"", "_").replace(r"\'", "_");
    let (mut code, mut rest) = (String::new(), text.as_str());
    while let Some(first) = rest.chars().next() {
        let raw = code.trim_end_matches('#');
        let is_character = rest.starts_with("'\\") || rest.chars().nth(2) == Some('\'');
        let end = match first {
            '/' if rest.starts_with("//") => "\n".to_owned(),
            '"' if raw.ends_with('r') => format!("\"{}", "#".repeat(code.len() - raw.len())),
            '\'' | '"' if first == '"' || is_character => first.to_string(),
            _ => {
                code.push(first);
                rest = &rest[first.len_utf8()..];
                continue;
            }
        };
        let skipped = rest[1..].find(&end).map_or(rest.len(), |at| 1 + at + end.len());
        code.push(' ');
        code.push_str(&"\n".repeat(rest[..skipped].matches('\n').count()));
        rest = &rest[skipped..];
    }
    code
}

/// Returns the prose of a Markdown text, line by line, without blocks and spans of code and without link targets.
fn prose_of(text: &str) -> String {
    let (mut prose, mut is_block, mut is_span, mut is_target) = (String::new(), false, false, false);
    for line in text.lines() {
        let is_fence = line.trim_start().starts_with("```");
        is_block ^= is_fence;
        is_span &= !line.is_empty();
        for (at, c) in line.char_indices().filter(|_| !is_fence && !is_block) {
            is_span ^= c == '`';
            is_target = (is_target || line[..at].ends_with("](")) && c != ')';
            prose.push(if is_span || is_target { ' ' } else { c });
        }
        prose.push('\n');
    }
    prose
}

/// Returns the words of which a word may be a form (a plural, a past, a participle), and itself.
fn forms_of(word: &str) -> Vec<String> {
    let endings =
        [("s", ""), ("es", ""), ("ies", "y"), ("d", ""), ("ed", ""), ("ied", "y"), ("ing", ""), ("ing", "e")];
    let stems = endings.iter().filter_map(|(end, other)| Some(format!("{}{other}", word.strip_suffix(end)?)));
    stems.filter(|stem| stem.len() > 2).chain([word.to_owned()]).collect()
}

/// Returns the words that are not listed, and the listed ones that no word needs.
fn find_faults(list: &str, glossary: &str, code: &Words, prose: &Words) -> Vec<String> {
    let mut terms = Words::new();
    let rows = glossary.lines().filter_map(|row| row.strip_prefix("| ")?.split(" | ").next());
    rows.for_each(|term| add(&mut terms, Path::new("docs/glossary.md"), term));
    let (mut entries, mut is_for_code) = (BTreeMap::new(), true);
    for line in list.lines() {
        is_for_code &= line != PROSE;
        let words = line.split_whitespace().filter(|_| !line.starts_with('#'));
        entries.extend(words.map(|word| (word, is_for_code)));
    }
    let (mut faults, mut used) = (Vec::new(), BTreeSet::new());
    for (words, is_code) in [(code, true), (prose, false)] {
        for (word, place) in words {
            let is_listed =
                |form: &str| entries.get(form).is_some_and(|is_for_code| *is_for_code || !is_code);
            match forms_of(word).into_iter().find(|form| terms.contains_key(form) || is_listed(form)) {
                Some(form) => _ = used.insert(form),
                None => faults.push(format!(
                    "{place}: {word:?} is not listed: use a term of the field or of docs/glossary.md, or add the word to \
                     tests/words.txt if it is plain English"
                )),
            }
        }
    }
    let unused = entries.keys().filter(|entry| !used.contains(**entry) || terms.contains_key(**entry));
    faults.extend(unused.map(|entry| format!("tests/words.txt: take out {entry:?}, which no word needs")));
    faults
}

#[test]
fn every_word_is_a_term_of_the_field_or_plain_english() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &Path| std::fs::read_to_string(root.join(path)).unwrap();
    let (mut code, mut prose) = (Words::new(), Words::new());
    let texts =
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "tests/bench/introduction.md", "docs", "src"];
    let mut paths: BTreeSet<_> = texts.map(|name| Path::new(name).to_owned()).into();
    while let Some(path) = paths.pop_first() {
        if root.join(&path).is_dir() {
            let entries = std::fs::read_dir(root.join(&path)).unwrap();
            paths.extend(entries.map(|entry| path.join(entry.unwrap().file_name())));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = code_of(&read(&path));
            let at = if path.ends_with("tests.rs") { Some(0) } else { text.find("#[cfg(test)]") };
            let (own, of_tests) = text.split_at(at.unwrap_or(text.len()));
            add(&mut code, &path, own);
            add(&mut prose, &path, &("\n".repeat(own.matches('\n').count()) + of_tests));
        // docs/performance.md is generated from the introduction.
        } else if path.extension().is_some_and(|extension| extension == "md")
            && !path.ends_with("performance.md")
        {
            add(&mut prose, &path, &prose_of(&read(&path)));
        }
    }
    let (list, glossary) = (read(Path::new("tests/words.txt")), read(Path::new("docs/glossary.md")));
    let faults = find_faults(&list, &glossary, &code, &prose);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn a_new_word_would_be_found() {
    let words = |text: &str| {
        let mut words = Words::new();
        add(&mut words, Path::new("a"), text);
        words.into_iter().map(|(word, place)| format!("{place} {word}")).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(words("a_scan\nCRDs, IPBlock v1Beta"), "a:2 beta, a:2 block, a:2 crd, a:2 ip, a:1 scan");
    let code = "'\\'' aa <'bb> '\"' \"cc \\\" \n\\\\\" dd // ee\nff r#\"gg \" hh\"# ii 'j' '\\n'";
    assert_eq!(words(&code_of(code)), "a:1 aa, a:1 bb, a:2 dd, a:3 ff, a:3 ii");
    let prose = "aa `bb\ncc` [dd](ee/ff)\n```\ngg\n```\n`hh\n\nii";
    assert_eq!(words(&prose_of(prose)), "a:1 aa, a:2 dd, a:8 ii");
    for (word, stem) in [("ports", "port"), ("denied", "deny"), ("using", "use"), ("is", "is")] {
        assert!(forms_of(word).contains(&stem.to_owned()), "{word}");
    }
    let list = format!("# Code\nport the\n{PROSE}\nwall");
    let faults = |code: &str| {
        let place = |word: &str| (word.to_owned(), "a:1".to_owned());
        let code = code.split(' ').map(place).collect();
        find_faults(&list, "| Enclave | … |", &code, &["walls", "the"].map(place).into()).join("\n")
    };
    assert_eq!(faults("ports enclaves"), "");
    assert!(faults("port sentry").starts_with("a:1: \"sentry\" is not listed"));
    assert!(faults("port wall").starts_with("a:1: \"wall\" is not listed"));
    assert_eq!(faults("the"), "tests/words.txt: take out \"port\", which no word needs");
}
