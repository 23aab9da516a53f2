//! How many requests the operator made, according to the API server's audit log.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use enclave_operator::api::names::GROUP;
use serde::Serialize;

use crate::support::{Write, requests_after};

/// The log from some point on.
#[derive(Clone, Debug)]
pub struct Since {
    log: PathBuf,
    username: String,
    offset: u64,
}

/// Requests by what they are.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// Objects that it made, but Events and what belongs to this API group.
    pub children: usize,
    /// Changes and deletions of these.
    pub child_changes: usize,
    pub events: usize,
    /// Changes of objects of this API group beside their status: finalizers, annotations.
    pub metadata: usize,
    pub status: usize,
    /// ApprovalRequests that it made.
    pub requests: usize,
    /// GETs and LISTs.
    pub reads: usize,
    /// Writes that were answered with 409.
    pub conflicts: usize,
    /// Writes that were answered with another error.
    pub refused: usize,
    /// All of them: verb, resource and what went wrong, to find out where they come from.
    pub each: BTreeMap<String, usize>,
}

impl Since {
    /// What this user does from now on.
    pub fn now(log: PathBuf, username: &str) -> Self {
        let offset = fs::metadata(&log).map_or(0, |metadata| metadata.len());
        Self { log, username: username.to_owned(), offset }
    }

    /// What was done since. The lease does not count, nor do watches.
    pub fn count(&self) -> Counts {
        let mut counts = Counts::default();
        for request in requests_after(&self.log, &self.username, self.offset) {
            if request.resource != "leases" {
                counts.add(&request);
            }
        }
        counts
    }
}

impl Counts {
    pub const fn writes(&self) -> usize {
        let Self { children, child_changes, events, metadata, status, requests, .. } = self;
        *children + *child_changes + *events + *metadata + *status + *requests
    }

    fn add(&mut self, request: &Write) {
        if request.verb != "watch" {
            let failed = if request.code >= 400 { format!(" {}", request.code) } else { String::new() };
            let (verb, resource) = (&request.verb, &request.resource);
            let slash = if request.subresource.is_empty() { "" } else { "/" };
            let what = format!("{verb} {resource}{slash}{}{failed}", request.subresource);
            *self.each.entry(what).or_default() += 1;
        }
        let is_read = ["get", "list"].contains(&request.verb.as_str());
        if !is_read && request.verb != "watch" {
            match request.code {
                409 => self.conflicts += 1,
                400.. => self.refused += 1,
                _ => {}
            }
        }
        let ours = request.group == GROUP;
        *match (request.verb.as_str(), request.subresource.as_str(), request.resource.as_str()) {
            ("watch", ..) => return,
            _ if is_read => &mut self.reads,
            (.., "events") => &mut self.events,
            (_, "status", _) => &mut self.status,
            ("create", ..) if ours => &mut self.requests,
            _ if ours => &mut self.metadata,
            ("create", ..) => &mut self.children,
            _ => &mut self.child_changes,
        } += 1;
    }
}
