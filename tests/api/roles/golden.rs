//! The tables in `matrix.md`, as data.

use std::collections::{BTreeMap, BTreeSet};

use enclave_operator::api::Kind;
use enclave_operator::api::role_assignment::Role;

const GOLDEN: &str = include_str!("matrix.md");
/// The kinds by which roles are given, of which the tables do not speak.
const EXEMPT: [Kind; 3] = [Kind::RoleAssignment, Kind::RoleEligibility, Kind::RoleActivation];

/// A table of the file: the cells of its rows by their columns, by the name of the row.
pub type Table = BTreeMap<String, BTreeMap<String, String>>;

/// The Community in which roles are given, there and in its Enclave `payments`.
pub const OWN: &str = "matrix";
/// One in which none is.
pub const OTHER: &str = "elsewhere";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Cluster,
    Community,
    Enclave,
}

/// A table about kinds, and where it is looked at: in these Enclaves of these Communities.
pub struct Section {
    pub title: &'static str,
    pub scope: Scope,
    pub places: &'static [(&'static str, &'static str)],
    /// Whether it also speaks of what stands in the namespace of the Community beside the kinds of there.
    pub with_shared: bool,
}

pub const SECTIONS: [Section; 6] = [
    Section {
        title: "Cluster scope: everywhere",
        scope: Scope::Cluster,
        places: &[(OWN, "payments"), (OTHER, "ledger")],
        with_shared: true,
    },
    Section {
        title: "Community scope: in the Community and all its Enclaves",
        scope: Scope::Community,
        places: &[(OWN, "payments"), (OWN, "ledger")],
        with_shared: true,
    },
    Section {
        title: "Community scope: in another Community",
        scope: Scope::Community,
        places: &[(OTHER, "payments")],
        with_shared: true,
    },
    Section {
        title: "Enclave scope: in the Enclave",
        scope: Scope::Enclave,
        places: &[(OWN, "payments")],
        with_shared: false,
    },
    Section {
        title: "Enclave scope: in another Enclave of the Community",
        scope: Scope::Enclave,
        places: &[(OWN, "ledger")],
        with_shared: true,
    },
    Section {
        title: "Enclave scope: in another Community",
        scope: Scope::Enclave,
        places: &[(OTHER, "payments")],
        with_shared: true,
    },
];

/// The table about requests, and its columns.
pub const REQUESTS: (&str, [&str; 3]) = (
    "Enclave scope: requests about an Enclave",
    ["the own Enclave", "the own Enclave, decided", "another Enclave"],
);
/// The table about workloads, and its columns.
pub const WORKLOADS: (&str, [&str; 3]) =
    ("In the namespace of a workload", ["Standard", "Isolated", "out of scope"]);

/// The tables of the file. Each has a row for every role that its scope knows and a column for every kind.
pub fn golden() -> BTreeMap<String, Table> {
    let mut tables: BTreeMap<String, Table> = BTreeMap::new();
    for section in GOLDEN.split("\n## ").skip(1) {
        let (title, text) = section.split_once('\n').unwrap();
        let cells = |line: &str| -> Vec<String> {
            line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        let mut lines = text.lines().filter(|line| line.starts_with('|')).map(cells);
        let (header, _) = (lines.next().unwrap(), lines.next().unwrap());
        let kinds = Kind::ALL.into_iter().filter(|kind| !EXEMPT.contains(kind)).map(Kind::name);
        let columns: Vec<&str> = match [REQUESTS, WORKLOADS].into_iter().find(|(of, _)| *of == title) {
            Some((_, columns)) => columns.to_vec(),
            None => kinds.collect(),
        };
        assert_eq!(header[1..], columns, "the columns of {title:?}");
        let mut table = Table::new();
        for line in lines {
            assert_eq!(line.len(), header.len(), "{title:?}: {line:?}");
            let row = header[1..].iter().cloned().zip(line[1..].iter().cloned()).collect();
            assert!(table.insert(line[0].clone(), row).is_none(), "{title:?} has {} twice", line[0]);
        }
        let in_enclave = title.starts_with("Enclave scope");
        let roles = Role::ALL.iter().filter(|role| !in_enclave || role.name().starts_with("enclave-"));
        let roles: BTreeSet<&str> = roles.map(|role| role.name()).collect();
        assert_eq!(table.keys().map(String::as_str).collect::<BTreeSet<_>>(), roles, "the rows of {title:?}");
        assert!(tables.insert(title.to_owned(), table).is_none(), "{title:?} is there twice");
    }
    let titles = SECTIONS.iter().map(|section| section.title).chain([REQUESTS.0, WORKLOADS.0]);
    assert_eq!(tables.keys().map(String::as_str).collect::<BTreeSet<_>>(), titles.collect(), "the tables");
    tables
}

/// What a cell allows, as verbs; those on the status are written `status/verb`.
pub struct Cell {
    verbs: BTreeSet<&'static str>,
    /// Whether it allows it for one object only, by its name.
    own: bool,
}

/// Everything that can be allowed.
pub const VERBS: [&str; 11] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "approve",
    "status/update",
    "status/patch",
];

impl Cell {
    pub fn read(cell: &str) -> Self {
        let (own, letters) = match cell.strip_prefix("own ") {
            Some(letters) => (true, letters),
            None => (false, cell),
        };
        let verbs: &[&str] = match letters {
            "–" => &[],
            "R" => &VERBS[..3],
            "RW" => &VERBS[..6],
            "RWD" => &VERBS[..7],
            "R, decide" => &["get", "list", "watch", "approve", "status/update", "status/patch"],
            other => panic!("no cell is {other:?}"),
        };
        Self { verbs: verbs.iter().copied().collect(), own }
    }

    /// Whether it allows this for an object that the request names, or without a name.
    pub fn allows(&self, verb: &str, named: Option<&str>) -> bool {
        self.verbs.contains(verb) && (!self.own || (named.is_some() && verb != "create"))
    }
}
