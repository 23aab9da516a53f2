//! Kinds of this API group. The status is read field by field, and a spec that cannot be read is marked.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::lenient::{describe_error, fields_of, is_object, read, read_whole, read_with_unknown};
use super::parts::{Parts, Readable};
use super::spec::{Markable, Unknown, read_what_can_be};
use super::unread::{Cause, Unread, Unreadable};

use crate::api::audit::{Audit, AuditRecord};
use crate::api::entry::Entry;
use crate::api::gate::Applied;
use crate::api::strict::Strict;
use crate::api::{
    ApprovalRequest, ApprovalRequestSpec, ApprovalRequestStatus, Content, GateStatus, RoleActivation,
    RoleActivationSpec, RoleActivationStatus, Time,
};

/// Status that the operator writes.
pub(in crate::api) trait Status: Default + DeserializeOwned {
    /// Returns the part that gated kinds share; `None` for other kinds.
    fn gate(&mut self) -> Option<&mut GateStatus>;

    /// Returns the audit records about the object.
    fn audit(&mut self) -> &mut Audit;
}

macro_rules! markable {
    ($($spec:ident: $required:expr $(, closes: |$this:ident| $close:expr)? $(, unknown: $unknown:expr)?;)*) => {
        $(impl Markable for $spec {
            $(const UNKNOWN: Unknown = $unknown;)?

            fn required() -> Value {
                $required
            }

            fn mark(&mut self) -> &mut Option<Box<Unreadable>> {
                &mut self.unreadable
            }

            $(fn close(&mut self) {
                let $this = self;
                $close;
            })?
        })*
    };
}

markable! {
    RoleActivationSpec: json!({"eligibility": "", "duration": "0s"}), closes: |spec| spec.deactivate = true;
    ApprovalRequestSpec: json!({
        "summary": {"operation": "", "target": "", "requester": ""},
        "target": {"kind": "ApprovalRequest", "name": "", "uid": "", "generation": 0},
        "operations": [],
        "requesters": [],
        "change": {"after": {}, "digest": ""},
        "policy": {
            "minimumApprovers": 20, "expireAfterSeconds": 1, "requireJustification": true,
            "requireRejectionComment": true, "requireMfa": true, "requireCredentialId": true,
            "serviceAccountVotes": "Forbidden",
        },
        "expiresAt": "1970-01-01T00:00:00Z",
    }), unknown: Unknown::Counts;
}

/// Implements reading for a gated kind. The arguments are the kind, its spec and its status; the fields that
/// a spec must have, with values that give no access; and how access is taken away from a spec that cannot be
/// read.
macro_rules! gated {
    ($kind:ident, $spec:ident, $status:ident, required: $required:tt $(, closes: |$this:ident| $close:expr)?) => {
        impl $crate::api::reading::own::Status for $status {
            fn gate(&mut self) -> Option<&mut $crate::api::GateStatus> {
                Some(&mut self.gate)
            }

            fn audit(&mut self) -> &mut $crate::api::Audit {
                &mut self.gate.audit
            }
        }

        impl $crate::api::reading::spec::Markable for $spec {
            fn required() -> ::serde_json::Value {
                ::serde_json::json!($required)
            }

            fn mark(&mut self) -> &mut Option<Box<$crate::api::reading::unread::Unreadable>> {
                &mut self.unreadable
            }

            $(fn close(&mut self) {
                let $this = self;
                $close;
            })?
        }

        impl $crate::api::reading::parts::Readable for $kind {
            const FIELDS: &'static [&'static str] = &["spec", "status"];

            fn assemble(
                metadata: ::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
                parts: &mut $crate::api::reading::parts::Parts,
            ) -> Self {
                let status: Option<$status> = parts.status();
                let applied = status.as_ref().and_then(|status| status.gate.applied.as_ref());
                let spec: $spec = parts.spec(applied.map(|applied| &applied.spec), Vec::new());
                Self { metadata, spec, status }
            }
        }
    };
}
pub(in crate::api) use gated;

/// Implements reading for kinds whose status says what somebody holds or decided. Without the given fields of
/// the status nobody can tell, so the object is then marked as unreadable too.
macro_rules! essential {
    ($($kind:ident, $spec:ident, $status:ident, $essential:expr;)*) => {
        $(
            impl Status for $status {
                fn gate(&mut self) -> Option<&mut GateStatus> {
                    None
                }

                fn audit(&mut self) -> &mut Audit {
                    &mut self.audit
                }
            }

            impl Readable for $kind {
                const FIELDS: &'static [&'static str] = &["spec", "status"];

                fn assemble(metadata: ObjectMeta, parts: &mut Parts) -> Self {
                    let known = parts.unread.len();
                    let status: Option<$status> = parts.status();
                    let of_status = parts.unread.get(known..).unwrap_or_default().iter();
                    let lost = of_status.filter(|unread| is_one_of(&unread.path, &$essential));
                    let lost: Vec<Unread> = lost.cloned().collect();
                    let spec: $spec = parts.spec(None, lost);
                    Self { metadata, spec, status }
                }
            }
        )*
    };
}

essential! {
    RoleActivation, RoleActivationSpec, RoleActivationStatus,
        ["state", "user", "stamps", "role", "eligibilityUid", "startsAt", "endsAt"];
    ApprovalRequest, ApprovalRequestSpec, ApprovalRequestStatus,
        ["state", "decisions", "policyFingerprint", "decidedAt", "enactedAt"];
}

/// Whether a path leads into one of these fields of the status, or is the status as a whole.
fn is_one_of(path: &str, fields: &[&str]) -> bool {
    let Some(rest) = path.strip_prefix("status") else { return false };
    let Some(rest) = rest.strip_prefix('.') else { return true };
    let field = rest.split(['.', '[']).next().unwrap_or_default();
    fields.contains(&field)
}

impl Parts {
    /// Reads the spec. The applied content stands in for fields that cannot be read, so that nothing else
    /// changes; a list of principals keeps those that can be read. `lost` are other unreadable fields on
    /// which the spec depends.
    pub(in crate::api) fn spec<S: Markable>(&mut self, applied: Option<&Content>, lost: Vec<Unread>) -> S {
        let raw = self.take("spec");
        let wrong = |why: &str| Unread { path: "spec".into(), why: why.into(), cause: Cause::Wrong };
        let (whole, unknown) = match &raw {
            Some(raw) if is_object(raw) => match S::UNKNOWN {
                Unknown::Skipped => (read_whole::<S>("spec", raw), Vec::new()),
                Unknown::Counts => read_with_unknown::<S>("spec", raw),
            },
            Some(_) => (Err(wrong("it is no object")), Vec::new()),
            None => (Err(wrong("it is missing")), Vec::new()),
        };
        let (mut spec, mut unread) = match whole {
            Ok(spec) => (spec, Vec::new()),
            Err(first) => read_what_can_be(raw.as_deref(), first, applied.map(Content::to_value).as_ref()),
        };
        unread.extend(unknown);
        self.unread.extend(unread.iter().cloned());
        unread.extend(lost);
        *spec.mark() = Unreadable::of(unread);
        if spec.mark().as_ref().is_some_and(|mark| !mark.is_only_newer()) {
            spec.close();
        }
        spec
    }

    /// Reads the status; `None` when there is none yet.
    pub(in crate::api) fn status<S: Status>(&mut self) -> Option<S> {
        let raw = self.take("status")?;
        let mut whole = serde_json::Deserializer::from_str(raw.get());
        let whole = S::deserialize(Strict(&mut whole)).ok();
        if let Some(mut status) = whole {
            let applied = |status: &mut S| status.gate().and_then(|gate| gate.applied.clone());
            if applied(&mut status).is_none_or(|applied| applied.spec.is_object()) {
                return Some(status);
            }
        }
        let unread = &mut self.unread;
        if !is_object(&raw) {
            unread.push(Unread { path: "status".into(), why: "it is no object".into(), cause: Cause::Wrong });
            return Some(S::default());
        }
        // What is applied is read as a whole: what lost a part is not what was approved.
        let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(raw.get()).unwrap_or_default();
        let applied = fields.get("applied").filter(|raw| raw.get().trim() != "null");
        let mut values = fields_of("status", &raw, &mut Vec::new()).unwrap_or_default();
        let audit = values.remove("audit");
        let is_gated = S::default().gate().is_some();
        let mut status = S::default();
        if is_gated {
            values.remove("applied");
            let (shared, own) =
                values.into_iter().partition(|(name, _)| GATE_FIELDS.contains(&name.as_str()));
            status = read("status", Value::Object(own), &|_, _| None, unread).unwrap_or_default();
            let gate = read("status", Value::Object(shared), &|_, _| None, unread).unwrap_or_default();
            let applied = applied.map(|raw| read_applied(raw, unread));
            if let Some(in_status) = status.gate() {
                *in_status = GateStatus { applied, ..gate };
            }
        } else if let Some(read) = read("status", Value::Object(values), &|_, _| None, unread) {
            status = read;
        }
        // Named after the fields of the status that are read in any case.
        fields_too_deep(&raw, unread);
        if let Some(audit) = audit {
            *status.audit() = read_audit(&audit, unread);
        }
        Some(status)
    }
}

const GATE_FIELDS: [&str; 5] = ["observedGeneration", "state", "pending", "deletionProtected", "conditions"];

/// Reports the fields that are nested too deeply. The applied content reports itself.
fn fields_too_deep(raw: &RawValue, unread: &mut Vec<Unread>) {
    let mut found = Vec::new();
    if fields_of("status", raw, &mut found).is_none() || !found.is_empty() {
        unread.extend(found.into_iter().filter(|one| one.path != "status.applied"));
    }
}

/// Returns one field of an object that is a text.
pub(super) fn field(raw: &RawValue, name: &str) -> Option<Box<RawValue>> {
    let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(raw.get()).ok()?;
    fields.remove(name)
}

/// Reads the applied content, or returns a mark for it when a part of it cannot be read. A marked content is
/// never evaluated or enforced anew, and existing objects are kept.
fn read_applied(raw: &RawValue, unread: &mut Vec<Unread>) -> Applied {
    let whole = read_whole::<Applied>("status.applied", raw).and_then(|applied| {
        let path = "status.applied.spec".to_owned();
        let no_object = Unread { path, why: "it is no object".into(), cause: Cause::Wrong };
        if applied.spec.is_object() { Ok(applied) } else { Err(no_object) }
    });
    whole.unwrap_or_else(|found| {
        let fields = fields_of("status.applied", raw, &mut Vec::new()).unwrap_or_default();
        let text = |field: &str| fields.get(field).and_then(Value::as_str).map(ToOwned::to_owned);
        let applied = Applied {
            generation: fields.get("generation").and_then(Value::as_i64).unwrap_or_default(),
            complete_for: None,
            digest: text("digest").unwrap_or_default(),
            spec: Content::unreadable(fields.get("spec").cloned(), &found.to_string()),
            change: None,
            approval_request: text("approvalRequest"),
            at: Time(Timestamp::UNIX_EPOCH),
            references: Vec::new(),
        };
        unread.push(found);
        applied
    })
}

/// Reads the audit records that are still to be delivered. A record that only another version can read is
/// kept as it is.
fn read_audit(audit: &Value, unread: &mut Vec<Unread>) -> Audit {
    let waiting = audit.get("waiting").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut found = Audit {
        recorded: audit.get("recorded").and_then(Value::as_i64).unwrap_or_default(),
        ..Audit::default()
    };
    for (index, value) in waiting.into_iter().enumerate() {
        match serde_path_to_error::deserialize::<_, AuditRecord>(Strict(&value)) {
            Ok(_) => found.waiting.extend(serde_json::from_value::<Entry<AuditRecord>>(value)),
            Err(error) => {
                let path = format!("status.audit.waiting[{index}]");
                unread.push(describe_error(&path, &error));
                found.foreign.push(value);
            }
        }
    }
    // Numbers are never given twice.
    let last = found.waiting.iter().map(|record| record.number).max().unwrap_or_default();
    found.recorded = found.recorded.max(last);
    found
}
