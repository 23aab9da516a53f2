//! Reads the generated CRDs, as YAML and not by the Rust types, and walks their schemas.

use std::collections::BTreeSet;
use std::path::Path;

use enclave_operator::api::Kind;
use serde_json::{Map, Value, json};

use super::dice::Dice;
use super::texts;

/// A node of a schema.
#[derive(Clone, Copy)]
pub struct Schema<'a>(pub &'a Value);

/// The schema of a kind's spec.
pub fn spec_schema(kind: Kind) -> Value {
    let name = format!("{}.enclave-operator.io.yaml", kind.plural());
    let text =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("crds").join(name)).unwrap();
    let crd: Value = serde_yaml_ng::from_str(&text).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    assert!(schema.is_object(), "{kind} has no spec");
    schema.clone()
}

impl<'a> Schema<'a> {
    pub fn get(self, key: &str) -> Option<&'a Value> {
        self.0.get(key)
    }

    fn number(self, key: &str) -> Option<usize> {
        usize::try_from(self.get(key)?.as_u64()?).ok()
    }

    fn integer(self, key: &str) -> Option<i64> {
        let bound = self.get(key)?;
        #[expect(clippy::cast_possible_truncation, reason = "bounds of integers are whole")]
        bound.as_i64().or_else(|| bound.as_f64().map(|bound| bound as i64))
    }

    pub fn text(self, key: &str) -> &'a str {
        self.get(key).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn properties(self) -> impl Iterator<Item = (&'a String, Schema<'a>)> {
        self.get("properties").and_then(Value::as_object).into_iter().flatten().map(|(k, v)| (k, Schema(v)))
    }

    pub fn entries(self) -> Option<Schema<'a>> {
        self.get("additionalProperties").filter(|value| value.is_object()).map(Schema)
    }

    pub fn items(self) -> Option<Schema<'a>> {
        self.get("items").map(Schema)
    }

    pub fn is_quantity(self) -> bool {
        self.get("x-kubernetes-int-or-string") == Some(&json!(true))
    }

    fn is_required(self, name: &str) -> bool {
        let required = self.get("required").and_then(Value::as_array);
        required.is_some_and(|required| required.iter().any(|one| one == name))
    }

    /// The CEL rules of this node.
    pub fn rules(self) -> impl Iterator<Item = &'a str> {
        let rules = self.get("x-kubernetes-validations").and_then(Value::as_array);
        rules.into_iter().flatten().filter_map(|rule| rule["rule"].as_str())
    }
}

/// Makes values of a schema.
pub struct Maker<'a> {
    pub dice: &'a mut Dice,
    /// Whether values may be beyond the bounds, too, where most of them are refused.
    pub is_reckless: bool,
}

impl Maker<'_> {
    /// A value of a schema; `name` is what the field is called, `around` the node that it is in.
    pub fn make(&mut self, schema: Schema<'_>, name: &str, around: Option<Schema<'_>>) -> Value {
        if schema.is_quantity() {
            return texts::quantity(self.dice);
        }
        match schema.text("type") {
            "object" => self.make_object(schema),
            "array" => self.make_array(schema, name),
            "string" => self.make_text(schema, name, around),
            "integer" => self.make_integer(schema),
            "boolean" => json!(self.dice.percent(50)),
            other => panic!("{name} has the type {other}, which no value is made of"),
        }
    }

    fn make_object(&mut self, schema: Schema<'_>) -> Value {
        let mut object = Map::new();
        for (name, property) in schema.properties() {
            let is_wanted = schema.is_required(name) || self.dice.percent(50);
            if is_wanted {
                object.insert(name.clone(), self.make(property, name, Some(schema)));
            } else if self.dice.percent(5) {
                // Dropped, or the default.
                object.insert(name.clone(), Value::Null);
            }
        }
        if let Some(entry) = schema.entries() {
            for _ in 0..self.amount(schema.number("minProperties"), schema.number("maxProperties")) {
                let key = texts::key(self.dice, schema);
                object.insert(key, self.make(entry, "", Some(schema)));
            }
        } else if self.dice.percent(2) {
            object.insert("unheardOf".into(), json!({"by": ["this", "version"]}));
        }
        Value::Object(object)
    }

    fn make_array(&mut self, schema: Schema<'_>, name: &str) -> Value {
        let item = schema.items().unwrap();
        let amount = self.amount(schema.number("minItems"), schema.number("maxItems"));
        let mut items: Vec<Value> = (0..amount).map(|_| self.make(item, name, Some(schema))).collect();
        if !self.is_reckless {
            let mut seen = BTreeSet::new();
            items.retain(|value| identity(schema, value).is_none_or(|identity| seen.insert(identity)));
        }
        Value::Array(items)
    }

    /// How many there are: the fewest, the most, or some.
    fn amount(&mut self, least: Option<usize>, most: Option<usize>) -> usize {
        let (least, most) = (least.unwrap_or(0), most.unwrap_or(4));
        match self.dice.between(0, 9) {
            0 => least,
            1 if most <= 32 => most,
            2 if self.is_reckless => most + 1,
            3 if self.is_reckless => least.saturating_sub(1),
            _ => self.dice.between(least, most.min(least + 3)),
        }
    }

    fn make_integer(&mut self, schema: Schema<'_>) -> Value {
        let least = schema.integer("minimum").unwrap_or(i64::from(i32::MIN));
        let most = schema.integer("maximum").unwrap_or(i64::from(i32::MAX));
        let near = |offset: i64| json!(least.saturating_add(offset).min(most));
        match self.dice.between(0, 9) {
            0 => json!(least),
            1 => json!(most),
            2 => near(1),
            3 if self.is_reckless => json!(least - 1),
            4 if self.is_reckless => json!(most + 1),
            #[expect(clippy::cast_precision_loss, reason = "small")]
            5 => json!(most as f64),
            _ => near(i64::try_from(self.dice.between(0, 20_000)).unwrap()),
        }
    }

    fn make_text(&mut self, schema: Schema<'_>, name: &str, around: Option<Schema<'_>>) -> Value {
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            let words: Vec<&Value> = words.iter().filter(|word| !word.is_null()).collect();
            return if self.is_reckless && self.dice.percent(5) {
                json!("Unheard")
            } else {
                (*self.dice.pick(&words)).clone()
            };
        }
        let (least, most) =
            (schema.number("minLength").unwrap_or(0), schema.number("maxLength").unwrap_or(64));
        let text = texts::text(self.dice, schema, name, around, most);
        let length = text.chars().count();
        if !self.is_reckless && (length < least || length > most) {
            return json!(texts::plain(self.dice, schema, least.max(1).min(most)));
        }
        json!(text)
    }
}

/// What an entry of a list is told apart by; `None` where entries may be the same.
fn identity(list: Schema<'_>, value: &Value) -> Option<String> {
    match list.text("x-kubernetes-list-type") {
        "set" => Some(value.to_string()),
        "map" => {
            let keys = list.get("x-kubernetes-list-map-keys").and_then(Value::as_array).unwrap();
            let fields = Schema(list.get("items").unwrap());
            let told = keys.iter().map(|key| {
                let key = key.as_str().unwrap();
                let default = fields.get("properties").and_then(|all| all[key].get("default"));
                value.get(key).filter(|value| !value.is_null()).or(default).map(ToString::to_string)
            });
            Some(told.map(Option::unwrap_or_default).collect::<Vec<_>>().join(" "))
        }
        _ => None,
    }
}
