//! When two values of a schema mean the same.

use serde_json::{Map, Value, json};

use super::schema::Schema;

/// A value with what is missing filled in, times as whole seconds and amounts as texts.
pub fn normal(schema: Schema<'_>, value: &Value) -> Value {
    if schema.is_quantity() {
        return match value {
            Value::Number(number) => json!(number.to_string()),
            other => other.clone(),
        };
    }
    if let (Some(entry), Value::Object(entries)) = (schema.entries(), value) {
        return entries.iter().map(|(key, value)| (key.clone(), normal(entry, value))).collect();
    }
    match value {
        Value::Object(fields) => {
            let mut all = Map::new();
            for (name, property) in schema.properties() {
                let given = fields.get(name).filter(|value| !value.is_null());
                if let Some(value) = given.or(property.get("default")) {
                    let value = normal(property, value);
                    if !means_nothing(property, &value) {
                        all.insert(name.clone(), value);
                    }
                }
            }
            Value::Object(all)
        }
        Value::Array(items) => items.iter().map(|item| normal(schema.items().unwrap(), item)).collect(),
        Value::String(text) if schema.text("format") == "date-time" => json!(seconds(text)),
        #[expect(clippy::cast_possible_truncation, reason = "the API server takes whole numbers only")]
        Value::Number(number) => json!(number.as_i64().or(number.as_f64().map(|number| number as i64))),
        other => other.clone(),
    }
}

/// An empty list or map is as good as none.
fn means_nothing(schema: Schema<'_>, value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty() && schema.entries().is_some(),
        _ => false,
    }
}

/// Whole seconds since 1970 of a text that the API server takes for a time, from the year 0 to the last
/// second that can be reckoned with (9999-12-30T22:00:00Z).
fn seconds(text: &str) -> i64 {
    let number = |from: usize, to: usize| text[from..to].parse::<i64>().unwrap();
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    let offset = if text.ends_with('Z') {
        0
    } else {
        let at = text.len() - 6;
        let minutes = number(at + 1, at + 3) * 60 + number(at + 4, at + 6);
        if text[at..].starts_with('-') { -minutes * 60 } else { minutes * 60 }
    };
    // Days since 0000-03-01, so that the day that some years have more is the last one.
    let shifted = if month > 2 { year } else { year - 1 };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leap = shifted.div_euclid(4) - shifted.div_euclid(100) + shifted.div_euclid(400);
    let days = shifted * 365 + leap + of_year - 719_468;
    let clock = number(11, 13) * 3600 + number(14, 16) * 60 + number(17, 19);
    (days * 86_400 + clock - offset).clamp(-62_167_219_200, 253_402_207_200)
}

#[test]
fn times_and_amounts_are_told_apart_by_what_they_mean() {
    for (text, wanted) in [
        ("1970-01-01T00:00:00Z", 0),
        ("2000-02-29T12:00:00.5+01:00", 951_822_000),
        ("1969-12-31T23:59:59.5Z", -1),
        ("0001-01-01T00:00:00Z", -62_135_596_800),
        ("9999-12-31T23:59:59Z", 253_402_207_200),
    ] {
        assert_eq!(seconds(text), wanted, "{text}");
    }
    let schema = json!({"type": "object", "properties": {
        "list": {"type": "array", "items": {"type": "string"}},
        "on": {"type": "boolean", "default": true},
        "quota": {"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": true}},
    }});
    let normal = |value: Value| normal(Schema(&schema), &value);
    assert_eq!(normal(json!({"list": [], "quota": {}, "x": 1, "on": null})), json!({"on": true}));
    assert_ne!(normal(json!({"list": ["a"]})), normal(json!({"list": ["b"]})));
    assert_eq!(normal(json!({"quota": {"cpu": 1}})), normal(json!({"quota": {"cpu": "1"}})));
    assert_ne!(normal(json!({"on": false})), normal(json!({})));
}
