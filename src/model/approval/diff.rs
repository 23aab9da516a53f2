//! The difference between two contents, field by field, in words.

use serde_json::Value;

use crate::api::Content;
use crate::api::text::shorten;

const MAX_LINES: usize = 200;
const MAX_CHARS: usize = 1024;

/// Describes what changes from `before` to `after`. At most 200 lines of at most 1024 characters;
/// the last one says when more were left out.
#[must_use]
pub fn describe_changes(before: &Content, after: &Content) -> Vec<String> {
    let mut lines = Vec::new();
    compare("spec", &before.to_value(), &after.to_value(), &mut lines);
    if lines.len() > MAX_LINES {
        let left_out = lines.len() - (MAX_LINES - 1);
        lines.truncate(MAX_LINES - 1);
        lines.push(format!("and {left_out} more changes; look at spec.change"));
    }
    lines.iter().map(|line| shorten(line, MAX_CHARS).into_owned()).collect()
}

fn compare(path: &str, before: &Value, after: &Value, lines: &mut Vec<String>) {
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, old_value) in old {
                let path = format!("{path}.{key}");
                match new.get(key) {
                    Some(new_value) => compare(&path, old_value, new_value, lines),
                    None => lines.push(format!("{path}: {} is removed", show(old_value))),
                }
            }
            for (key, new_value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
                let path = format!("{path}.{key}");
                if let Value::Object(_) = new_value {
                    compare(&path, &Value::Object(serde_json::Map::new()), new_value, lines);
                } else {
                    lines.push(format!("{path}: {} is added", show(new_value)));
                }
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for gone in old.iter().filter(|item| !new.contains(item)) {
                lines.push(format!("{path}: {} is removed", show(gone)));
            }
            for came in new.iter().filter(|item| !old.contains(item)) {
                lines.push(format!("{path}: {} is added", show(came)));
            }
            if old != new && old.iter().all(|i| new.contains(i)) && new.iter().all(|i| old.contains(i)) {
                lines.push(format!("{path}: the order or number of entries changes to {}", show(after)));
            }
        }
        _ if before == after => {}
        _ => lines.push(format!("{path}: {} becomes {}", show(before), show(after))),
    }
}

fn show(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(json: &str) -> Content {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_change_is_told_field_by_field() {
        let before = content(r#"{"network": {"mode": "Isolated"}, "list": [1, 2], "gone": true}"#);
        let after = content(r#"{"network": {"mode": "Allowed"}, "list": [2, 3], "new": {"deep": "x"}}"#);
        assert_eq!(
            describe_changes(&before, &after),
            [
                "spec.gone: true is removed",
                "spec.list: 1 is removed",
                "spec.list: 3 is added",
                "spec.network.mode: \"Isolated\" becomes \"Allowed\"",
                "spec.new.deep: \"x\" is added",
            ]
        );
        assert_eq!(describe_changes(&before, &before), Vec::<String>::new());
    }

    #[test]
    fn reordering_is_a_change_too() {
        assert_eq!(
            describe_changes(&content(r#"{"list": [1, 2]}"#), &content(r#"{"list": [2, 1]}"#)),
            ["spec.list: the order or number of entries changes to [2,1]"]
        );
    }

    #[test]
    fn a_long_difference_says_what_it_leaves_out() {
        let many = (0..300).map(|n| format!("\"{n:03}\": 1")).collect::<Vec<_>>().join(",");
        let lines = describe_changes(&Content::empty(), &content(&format!("{{{many}}}")));
        assert_eq!(lines.len(), 200);
        assert_eq!(lines.last().unwrap(), "and 101 more changes; look at spec.change");
    }
}
