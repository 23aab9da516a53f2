//! What users wrote, according to the API server's audit log.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use jiff::Timestamp;
use serde::Deserialize;

const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

/// What the API server logs: writes, once they are answered, and what the operator reads. Other reads and the traffic of the
/// control plane itself would only hide what a test looks for, and reviews of access
/// (`SubjectAccessReview` …) are questions in the form of writes.
pub(super) const POLICY: &str = r#"
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
omitManagedFields: true
rules:
  - level: Metadata
    users: ["system:serviceaccount:enclave-system:enclave-operator"]
    verbs: [get, list, watch]
  - level: None
    verbs: [get, list, watch]
  - level: None
    users: ["system:apiserver", "system:kube-controller-manager"]
  - level: None
    userGroups: ["system:serviceaccounts:kube-system"]
  - level: None
    resources: [{group: authorization.k8s.io}, {group: authentication.k8s.io}]
  - level: Metadata
"#;

/// A request, accepted or not; one that would change something unless it is from [`requests_by`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// `create`, `update`, `patch` (server-side apply too), `delete`, `deletecollection`
    pub verb: String,
    /// API group, empty for the core group.
    pub group: String,
    /// Plural name of the resource.
    pub resource: String,
    /// For example `status`; empty if none.
    pub subresource: String,
    /// Empty for cluster-wide resources.
    pub namespace: String,
    /// Empty where the API server chose the name, and for collections.
    pub name: String,
    /// HTTP status of the answer; 0 if there was none.
    pub code: u16,
    /// Why it was refused; empty if it was not.
    pub message: String,
    /// Nothing was to be changed.
    pub dry_run: bool,
    pub user_agent: String,
    /// Which credential was used: tells processes apart that are one user.
    pub credential: String,
    /// When the request came in.
    pub at: Timestamp,
}

impl Write {
    /// The API server did what was asked for. It answers so too if there was nothing to change.
    pub fn accepted(&self) -> bool {
        (200..300).contains(&self.code) && !self.dry_run
    }
}

/// The writes of a user that came in at `since` or later, oldest first. Who impersonates somebody
/// is found by his own name.
///
/// An entry is written when the API server finishes its answer, so the last one may follow the
/// answer by an instant: use [`eventually`](super::eventually) to wait for an expected write.
///
/// # Panics
/// If the log cannot be read.
pub fn writes_by(audit_log: &Path, username: &str, since: Option<Timestamp>) -> Vec<Write> {
    let mut writes = requests_by(audit_log, username);
    writes.retain(|write| !["get", "list", "watch"].contains(&write.verb.as_str()));
    writes.retain(|write| since.is_none_or(|since| write.at >= since));
    writes
}

/// As [`writes_by`], with what the operator read.
///
/// # Panics
/// If the log cannot be read.
pub fn requests_by(audit_log: &Path, username: &str) -> Vec<Write> {
    requests_after(audit_log, username, 0)
}

/// As [`requests_by`], of what is in the log after its first `offset` bytes, where an entry ends.
///
/// # Panics
/// If the log cannot be read.
pub fn requests_after(audit_log: &Path, username: &str, offset: u64) -> Vec<Write> {
    let log = match read_after(audit_log, offset) {
        Ok(log) => log,
        // The API server makes the file with the first entry.
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => panic!("failed to read {}: {error}", audit_log.display()),
    };
    // The last line may be half written.
    let complete = log.rfind('\n').map_or("", |end| &log[..end]);
    let mut writes: Vec<Write> = complete
        .lines()
        .map(|line| {
            serde_json::from_str::<Entry>(line)
                .unwrap_or_else(|error| panic!("failed to read an audit entry: {error}\n{line}"))
        })
        .filter(|entry| entry.user.username == username)
        .map(Write::from)
        .collect();
    writes.sort_by_key(|write| write.at);
    writes
}

fn read_after(audit_log: &Path, offset: u64) -> io::Result<String> {
    let mut file = File::open(audit_log)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    // The API server may be in the middle of a character.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    user: EntryUser,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectReference,
    #[serde(default)]
    response_status: ResponseStatus,
    request_received_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct EntryUser {
    username: String,
    #[serde(default)]
    extra: BTreeMap<String, Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct ObjectReference {
    api_group: String,
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ResponseStatus {
    code: u16,
    message: String,
}

impl From<Entry> for Write {
    fn from(entry: Entry) -> Self {
        Self {
            verb: entry.verb,
            group: entry.object_ref.api_group,
            resource: entry.object_ref.resource,
            subresource: entry.object_ref.subresource,
            namespace: entry.object_ref.namespace,
            name: entry.object_ref.name,
            code: entry.response_status.code,
            message: entry.response_status.message,
            dry_run: entry.request_uri.contains("dryRun="),
            user_agent: entry.user_agent,
            credential: entry.user.extra.get(CREDENTIAL).map(|ids| ids.concat()).unwrap_or_default(),
            at: entry.request_received_timestamp,
        }
    }
}
