//! Texts for fields: from their patterns, from those in their rules, and from tables of texts at the edge of
//! what a format takes.

use serde_json::{Value, json};

use super::dice::Dice;
use super::schema::Schema;

/// Times far from now, so that nothing begins or ends while a test looks.
const TIMES: [&str; 34] = [
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59.999999999Z",
    "9999-12-31T23:59:59-23:59",
    "9999-12-31T00:00:00+23:59",
    "9999-12-30T22:00:00Z",
    "9999-12-30T22:00:00.5Z",
    "9999-12-30T22:00:01Z",
    "9999-12-30T21:59:59Z",
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00-23:59",
    "0001-01-01T00:00:00+00:01",
    "0000-01-01T00:00:00Z",
    "0000-02-29T00:00:00Z",
    "1969-12-31T23:59:59.5Z",
    "1970-01-01T00:00:00Z",
    "2038-01-19T03:14:08Z",
    "2100-01-01T00:00:00.123Z",
    "2100-01-01T00:00:00.123456Z",
    "2100-01-01T00:00:00.000000001Z",
    "2100-01-01T00:00:00.12345678901234Z",
    "2100-01-01T00:00:00,5Z",
    "2100-01-01T00:00:00x5Z",
    "2100-01-01T00:00:00+14:00",
    "2100-01-01T00:00:00-00:00",
    "2100-01-01T00:00:00+23:59",
    "2100-01-01T00:00:00+24:00",
    "2100-01-01T00:00:00+24:60",
    "2100-01-01T00:00:00-29:59",
    "2100-01-01T00:00:00+99:99",
    "2100-01-01t00:00:00z",
    "2104-02-29T23:59:59.999-11:30",
    "2016-12-31T23:59:60Z",
    "2100-01-01 00:00:00Z",
    "2100-01-01T24:00:00Z",
];

/// What is refused anyway, unless the API server changes.
const PLAIN_TIMES: [&str; 20] = [
    "9999-12-31T23:59:59Z",
    "9999-12-31T23:59:59.999999999Z",
    "9999-12-31T23:59:59-23:59",
    "9999-12-31T00:00:00+23:59",
    "9999-12-30T22:00:00Z",
    "9999-12-30T22:00:00.5Z",
    "9999-12-30T22:00:01Z",
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00-23:59",
    "1969-12-31T23:59:59.5Z",
    "2038-01-19T03:14:08Z",
    "2100-01-01T00:00:00.123Z",
    "2100-01-01T00:00:00.12345678901234Z",
    "2100-01-01T00:00:00,5Z",
    "2100-01-01T00:00:00+14:00",
    "2100-01-01T00:00:00-00:00",
    "2100-01-01T00:00:00+24:00",
    "2100-01-01T00:00:00+24:60",
    "2104-02-29T23:59:59.999-11:30",
    "2100-01-01T00:00:00.000000001Z",
];

const DURATIONS: [&str; 18] = [
    "1m",
    "60s",
    "0h1m",
    "59s",
    "24h",
    "1440m",
    "86400s",
    "23h59m60s",
    "00024h",
    "0h0m00000060s",
    "8784h",
    "8784h1s",
    "8783h60m",
    "72h",
    "1h1m1s",
    "99999h",
    "2h",
    "0m99s",
];

const CIDRS: [&str; 18] = [
    "0.0.0.0/0",
    "255.255.255.255/32",
    "10.0.0.0/8",
    "198.51.100.0/24",
    "127.0.0.0/8",
    "169.254.169.254/32",
    "0.0.0.0/32",
    "::/0",
    "::/128",
    "::1/128",
    "2001:db8::/32",
    "fe80::/10",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
    "2001:db8:0:1::/64",
    "::ffff:0:0/96",
    "::ffff:10.0.0.0/104",
    "10.0.0.1/8",
    "010.0.0.0/8",
];

/// Names that stand for something where the values are stored, and one of each length.
const LABEL_KEYS: [&str; 10] = [
    "app",
    "a",
    "app.kubernetes.io/name",
    "A_b.C-9",
    "k8s app",
    "-a",
    "x.y.z/a",
    "kubernetes.io/metadata.name",
    "A/b",
    "0.0/0",
];

const AMOUNTS: [&str; 46] = [
    "0",
    "1",
    "2",
    "20",
    "4",
    "1Ki",
    "1Mi",
    "8Gi",
    "1Ti",
    "1Pi",
    "1Ei",
    "7Ei",
    "8Ei",
    "16Ei",
    "1024Mi",
    "1.5Gi",
    "0.5Ki",
    "1n",
    "1u",
    "100m",
    "1500m",
    "1k",
    "12M",
    "3G",
    "1T",
    "1P",
    "1E",
    "9E",
    "9.3E",
    "1000E",
    "0.5",
    ".5",
    "5.",
    "+1",
    "1e3",
    "12e6",
    "1E3",
    "1e+2",
    "5e-1",
    "1e-9",
    "1e-99",
    "1e18",
    "1e19",
    "0.0000000001",
    "9223372036854775807",
    "00000000000000000000000000000001",
];

/// What a text is like that is no good amount.
const ODD_AMOUNTS: [&str; 16] = [
    "-1",
    "-0",
    "",
    ".",
    "+",
    "Gi",
    "1e",
    "1 Gi",
    " 1",
    "1e99999999",
    "9223372036854775808",
    "1e1e1",
    "0x10",
    "1,5",
    "NaN",
    "1i",
];

pub fn quantity(dice: &mut Dice) -> Value {
    match dice.between(0, 19) {
        0 => json!(0),
        1 => json!(i64::from(i32::MAX) + 1),
        2 => json!(8_589_934_592_i64),
        3 => json!(i64::MAX),
        4 => json!(dice.between(0, 1_000_000)),
        5 => json!(dice.between(0, usize::MAX / 4)),
        6..=8 => {
            let digits = dice.between(0, 10_000_000);
            let suffix = *dice.pick(&["", "m", "k", "Mi", "Gi", "u", "n", "e2", "E-2"]);
            json!(format!(
                "{}{suffix}",
                if dice.percent(50) { format!("{digits}") } else { format!("{}.{digits}", digits % 100) }
            ))
        }
        9 if dice.percent(20) => json!(dice.pick(&ODD_AMOUNTS)),
        10 if dice.percent(20) => json!(*dice.pick(&[1e3, 0.5, 1e30])),
        _ => json!(dice.pick(&AMOUNTS)),
    }
}

/// A key for a map: what its rules name, or the key of a label.
pub fn key(dice: &mut Dice, map: Schema<'_>) -> String {
    let known: Vec<&str> = map
        .rules()
        .filter_map(|rule| rule.strip_prefix("self.all(name, name in ["))
        .filter_map(|rule| rule.split_once(']'))
        .flat_map(|(names, _)| names.split(", ").map(|name| name.trim_matches('\'')))
        .collect();
    if known.is_empty() {
        return if dice.percent(70) {
            (*dice.pick(&LABEL_KEYS[..4])).to_owned() + &dice.between(0, 9).to_string()
        } else {
            (*dice.pick(&LABEL_KEYS)).to_owned()
        };
    }
    let others = [
        "count/jobs.batch",
        "count/pods",
        "hugepages-2Mi",
        "requests.hugepages-1Gi",
        "requests.nvidia.com/gpu",
        "gold.storageclass.storage.k8s.io/requests.storage",
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims",
    ];
    let has_others = map.rules().any(|rule| rule.contains("hugepages"));
    (*if has_others && dice.percent(30) { dice.pick(&others) } else { dice.pick(&known) }).to_owned()
}

/// A text for a field that has no words of its own.
pub fn text(
    dice: &mut Dice,
    schema: Schema<'_>,
    name: &str,
    around: Option<Schema<'_>>,
    most: usize,
) -> String {
    let rules: Vec<&str> = schema.rules().chain(around.into_iter().flat_map(Schema::rules)).collect();
    let own = schema.rules().collect::<Vec<_>>();
    if schema.text("format") == "date-time" {
        let table: &[&str] = if dice.percent(85) { &PLAIN_TIMES } else { &TIMES };
        return (*dice.pick(table)).to_owned();
    }
    if own.iter().any(|rule| rule.contains("duration(")) {
        return if dice.percent(75) {
            let hours = dice.between(1, 23);
            let text = format!("{hours}h{}m", dice.between(0, 59));
            if dice.percent(50) { text } else { (*dice.pick(&DURATIONS[..9])).to_owned() }
        } else {
            (*dice.pick(&DURATIONS)).to_owned()
        };
    }
    if rules.iter().any(|rule| rule.contains("isCIDR")) {
        let table = if dice.percent(90) { &CIDRS[..14] } else { &CIDRS };
        return (*dice.pick(table)).to_owned();
    }
    if own.iter().any(|rule| rule.contains("qualifiedName")) {
        let table = if dice.percent(85) { &LABEL_KEYS[..4] } else { &LABEL_KEYS };
        return (*dice.pick(table)).to_owned();
    }
    // The names of what is there, so that references lead somewhere.
    if dice.percent(50)
        && let Some(names) = names_of(name)
    {
        return (*dice.pick(names)).to_owned();
    }
    // Texts as a rule around them wants them.
    let in_rule =
        rules.iter().find_map(|rule| rule.split_once("name.matches('")?.1.split_once("')")).map(|(it, _)| it);
    let pattern = in_rule.or(Some(schema.text("pattern")).filter(|pattern| !pattern.is_empty()));
    match pattern {
        Some(pattern) if dice.percent(70) => dice.text_like(pattern),
        _ => {
            let length = *dice.pick(&[1, 2, most - 1, most]);
            plain(dice, schema, length)
        }
    }
}

fn names_of(field: &str) -> Option<&'static [&'static str]> {
    Some(match field {
        "workload" | "workloads" => &["api", "db"],
        "enclave" => &["payments", "ledger"],
        "eligibility" => &["free", "held", "missing"],
        "namespace" => &["kube-system", "default", "values", "values-payments-api"],
        "name" => &["db", "hub", "out", "bob", "cyber-team", "system:masters"],
        _ => return None,
    })
}

/// So many characters that most patterns take, or some that people write where all are taken.
pub fn plain(dice: &mut Dice, schema: Schema<'_>, length: usize) -> String {
    let is_free = schema.text("pattern").is_empty() || schema.text("pattern").contains("cntrl");
    let letters: &[char] = if is_free {
        &['a', 'ß', '日', '🦀', '"', '\\', '<', '\'', ':', '/', '%', '\u{202e}', '\u{feff}', '{']
    } else {
        &['a']
    };
    let letter = *dice.pick(letters);
    let text: String = std::iter::repeat_n(letter, length).collect();
    if schema.text("pattern").is_empty() && dice.percent(10) {
        return format!(" {}\n", text.chars().skip(2).collect::<String>());
    }
    text
}
