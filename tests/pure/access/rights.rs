//! The oracle's own table: what a role consists of, by where it is given.

use std::collections::{BTreeMap, BTreeSet};

use enclave_operator_testing::sim::{SYSTEM, Server};

/// A namespace of a Community, as people and its owner left it.
#[derive(Clone, Debug)]
pub struct Room {
    pub community: &'static str,
    pub enclave: Option<&'static str>,
    pub workload: Option<&'static str>,
    /// It is there and stays.
    pub stays: bool,
    /// What denies everything is there.
    pub guarded: bool,
    /// By what is applied of its workload.
    pub isolated: bool,
    /// By its label.
    pub labelled_isolated: bool,
}

/// That somebody has a role somewhere: a binding, with one of its subjects.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tie {
    pub namespace: String,
    pub name: String,
    pub role: String,
    pub subject: String,
}

/// A rule of a role that is made for one source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rule {
    pub namespace: String,
    pub name: String,
    pub text: String,
}

/// Bindings and the rules of what is made for them.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    pub ties: BTreeSet<Tie>,
    pub rules: BTreeSet<Rule>,
}

/// Where something is given.
#[derive(Clone, Copy)]
enum Scope {
    System,
    Community(&'static str),
    Enclave(&'static str, &'static str),
}

fn scope_of(namespace: &str) -> Scope {
    match namespace {
        SYSTEM => Scope::System,
        "acme" => Scope::Community("acme"),
        "other" => Scope::Community("other"),
        "acme-pay" => Scope::Enclave("acme", "pay"),
        _ => panic!("nothing is given in {namespace}"),
    }
}

const READ: &str = "get,list,watch";
const WRITE: &str = "get,list,watch,update,patch";
const MANAGE: &str = "get,list,watch,update,patch,delete";

impl Rights {
    /// What a role gives to these people.
    pub fn add(
        &mut self,
        given: (&str, &str),
        role: &str,
        workload: Option<&str>,
        people: &BTreeSet<String>,
        rooms: &BTreeMap<&'static str, Room>,
    ) {
        let (namespace, name) = given;
        if people.is_empty() {
            return;
        }
        let scope = scope_of(namespace);
        let own = format!("enclave-operator:{role}");
        if workload.is_none() {
            match scope {
                Scope::System => self.bind("", name, &format!("ClusterRole/{own}"), people),
                Scope::Community(community) => {
                    self.bind(community, name, &format!("ClusterRole/{own}"), people);
                    self.limit_to_community(name, role, community, people);
                }
                Scope::Enclave(community, enclave) => {
                    self.limit_to_enclave(community, name, role, enclave, people);
                    self.limit_to_community(name, role, community, people);
                }
            }
        }
        for (room, it) in rooms.iter().filter(|(_, room)| room.stays) {
            let covered = match scope {
                Scope::System => true,
                Scope::Community(community) => it.community == community,
                Scope::Enclave(community, enclave) => {
                    it.community == community && it.enclave == Some(enclave)
                }
            };
            if !covered || workload.is_some() && workload != it.workload {
                continue;
            }
            if it.workload.is_some() {
                let inside = match role {
                    "community-owner" | "enclave-owner" => "admin",
                    "community-contributor" | "enclave-contributor" => "edit",
                    "community-reader" | "enclave-reader" => "view",
                    _ => continue,
                };
                if !it.isolated && !it.labelled_isolated {
                    self.bind(room, name, &format!("ClusterRole/{inside}"), people);
                }
            } else if !matches!(scope, Scope::System) && it.enclave.is_some() {
                self.bind(room, name, &format!("ClusterRole/{own}"), people);
            }
        }
    }

    pub fn bind(&mut self, namespace: &str, name: &str, role: &str, people: &BTreeSet<String>) {
        self.ties.extend(people.iter().map(|subject| Tie {
            namespace: namespace.into(),
            name: name.into(),
            role: role.into(),
            subject: subject.clone(),
        }));
    }

    fn limit_to_community(&mut self, name: &str, role: &str, community: &str, people: &BTreeSet<String>) {
        let verbs = match role {
            "community-owner" => MANAGE,
            "community-contributor" => WRITE,
            "enclave-reader" => return,
            _ => READ,
        };
        self.bind("", name, &format!("ClusterRole/{name}"), people);
        self.allow("", name, &[format!("communities:{community}:{verbs}")]);
    }

    fn limit_to_enclave(
        &mut self,
        namespace: &str,
        name: &str,
        role: &str,
        enclave: &str,
        people: &BTreeSet<String>,
    ) {
        let verbs = match role {
            "enclave-owner" => MANAGE,
            "enclave-contributor" => WRITE,
            _ => READ,
        };
        self.bind(namespace, name, &format!("Role/{name}"), people);
        let rules = [format!("enclaves:{enclave}:{verbs}"), format!("transithubs::{READ}")];
        self.allow(namespace, name, &rules);
        if role != "enclave-reader" {
            self.allow(namespace, name, &[format!("communityendpoints::{READ}")]);
        }
    }

    fn allow(&mut self, namespace: &str, name: &str, rules: &[String]) {
        self.rules.extend(rules.iter().map(|rule| Rule {
            namespace: namespace.into(),
            name: name.into(),
            text: rule.clone(),
        }));
    }

    /// What there is.
    pub fn live(server: &Server) -> Self {
        let mut live = Self::default();
        macro_rules! read_bindings {
            ($shelf:ident) => {
                for ((namespace, name), binding) in &server.$shelf {
                    let role = format!("{}/{}", binding.role_ref.kind, binding.role_ref.name);
                    let subjects = binding.subjects.iter().flatten();
                    let people = subjects.map(|subject| match &subject.namespace {
                        Some(namespace) => format!("{}:{namespace}/{}", subject.kind, subject.name),
                        None => format!("{}:{}", subject.kind, subject.name),
                    });
                    live.bind(namespace, name, &role, &people.collect());
                }
            };
        }
        macro_rules! read_roles {
            ($shelf:ident) => {
                for ((namespace, name), role) in &server.$shelf {
                    let rules = role.rules.iter().flatten().map(|rule| {
                        let join = |words: &Option<Vec<String>>| words.clone().unwrap_or_default().join(",");
                        let names = join(&rule.resource_names);
                        format!("{}:{names}:{}", join(&rule.resources), rule.verbs.join(","))
                    });
                    live.allow(namespace, name, &rules.collect::<Vec<_>>());
                }
            };
        }
        read_bindings!(role_bindings);
        read_bindings!(cluster_role_bindings);
        read_roles!(roles);
        read_roles!(cluster_roles);
        live
    }

    /// What of it is not among others.
    pub fn beyond<'a>(&'a self, others: &'a Self) -> (Vec<&'a Tie>, Vec<&'a Rule>) {
        (self.ties.difference(&others.ties).collect(), self.rules.difference(&others.rules).collect())
    }

    /// Without what is in namespaces that are not guarded: nothing opens there, and nothing closes for that.
    pub fn without_bare(mut self, rooms: &BTreeMap<&'static str, Room>) -> Self {
        let is_bare = |namespace: &String| rooms.get(namespace.as_str()).is_some_and(|room| !room.guarded);
        self.ties.retain(|tie| !is_bare(&tie.namespace));
        self.rules.retain(|rule| !is_bare(&rule.namespace));
        self
    }
}
