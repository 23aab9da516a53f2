use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::ObjectMeta;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    Owner,
    OwnerInOrder,
}

impl Indexed for ConfigMap {
    type By = By;

    fn index(&self, add: &mut dyn FnMut(By, &str)) {
        for owner in self.data.iter().flatten().map(|(owner, _)| owner) {
            add(By::Owner, owner);
            add(By::OwnerInOrder, owner);
        }
    }

    fn is_ordered(by: By) -> bool {
        by == By::OwnerInOrder
    }

    fn is_compressed(&self) -> bool {
        self.immutable == Some(true)
    }

    fn is_backfilled(&self) -> bool {
        self.is_compressed()
    }
}

fn object(namespace: &str, name: &str, version: u64, owners: &[&str]) -> Arc<ConfigMap> {
    let metadata = ObjectMeta {
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        resource_version: Some(version.to_string()),
        ..ObjectMeta::default()
    };
    let data = owners.iter().map(|owner| ((*owner).to_owned(), String::new())).collect();
    // Every other version is held as text.
    Arc::new(ConfigMap {
        metadata,
        data: Some(data),
        immutable: Some(version.is_multiple_of(2)),
        ..ConfigMap::default()
    })
}

fn names_of(found: &[Arc<ConfigMap>]) -> Vec<String> {
    let mut names: Vec<String> = found
        .iter()
        .filter_map(|one| {
            Some(format!("{}/{}", one.metadata.namespace.as_ref()?, one.metadata.name.as_ref()?))
        })
        .collect();
    names.sort();
    names
}

/// A version that the watch brings need not be read when it is the known one or an older one. While a list says
/// what there is, everything in it counts.
#[test]
fn a_version_is_known_once_it_stands_here() {
    let cache = Cache::<ConfigMap>::default();
    let knows = |version| cache.knows(&object("a", "one", version, &[]).metadata);
    assert!(!knows(1), "there is nothing yet");
    // One is held as text, the other is not.
    for version in [4, 7] {
        cache.apply(object("a", "one", version, &[]));
        assert_eq!([version - 1, version, version + 1].map(knows), [true, true, false]);
    }
    assert!(!cache.knows(&object("a", "two", 1, &[]).metadata) && !cache.knows(&ObjectMeta::default()));
    let mut malformed = object("a", "one", 1, &[]).metadata.clone();
    malformed.resource_version = Some("x".into());
    assert!(!cache.knows(&malformed), "a version that is no number may be any");
    cache.begin_list();
    assert!(!knows(7));
    assert_eq!(cache.end_list().len(), 1, "it was not listed");
    assert!(!knows(7));
}

#[test]
fn objects_are_found_by_key_namespace_and_index_until_they_go() {
    let cache = Cache::<ConfigMap>::default();
    assert!(cache.apply(object("a", "one", 1, &["x", "y"])).unwrap().before.is_none());
    cache.apply(object("a", "two", 2, &["y"]));
    cache.apply(object("b", "one", 3, &[]));
    assert_eq!(names_of(&cache.by(By::Owner, "y")), ["a/one", "a/two"]);
    assert_eq!(names_of(&cache.in_namespace("a")), ["a/one", "a/two"]);
    assert_eq!((cache.count(By::Owner, "x"), cache.len()), (1, 3));
    assert!(cache.get("b", "one").is_some() && cache.get("b", "two").is_none());

    let change = cache.apply(object("a", "one", 4, &["z"])).unwrap();
    assert_eq!(change.before.unwrap().metadata.resource_version.as_deref(), Some("1"));
    assert_eq!(names_of(&cache.by(By::Owner, "y")), ["a/two"]);
    assert_eq!(names_of(&cache.by(By::Owner, "z")), ["a/one"]);
    assert!(cache.by(By::Owner, "x").is_empty());

    assert!(cache.remove(&object("a", "one", 5, &[])).unwrap().after.is_none());
    assert!(cache.remove(&object("a", "one", 5, &[])).is_none());
    assert!(cache.get("a", "one").is_none() && cache.by(By::Owner, "z").is_empty());
    assert!(cache.values(By::Owner).iter().all(|(value, _)| &**value == "y"));
}

#[test]
fn a_version_that_is_known_is_no_change_and_an_older_one_never_comes_back() {
    let cache = Cache::<ConfigMap>::default();
    cache.apply(object("a", "one", 5, &["new"]));
    assert!(cache.apply(object("a", "one", 5, &["new"])).is_none());
    assert!(cache.apply(object("a", "one", 4, &["old"])).is_none());
    assert_eq!(cache.count(By::Owner, "new"), 1);
}

/// The answer to a write may arrive after the watch has brought what happened to the object since.
#[test]
fn what_was_written_is_known_at_once_and_does_not_bring_back_what_is_gone() {
    let cache = Cache::<ConfigMap>::default();
    let written = |object| cache.apply_written(object, Instant::now());
    assert!(written(object("a", "new", 3, &[])).is_none(), "nothing was listed yet");
    cache.begin_list();
    assert!(written(object("a", "new", 3, &[])).is_none(), "the list says whether it is there");
    cache.apply(object("a", "one", 5, &[]));
    drop(cache.end_list());
    assert!(written(object("a", "one", 7, &["written"])).is_some());
    assert!(cache.apply(object("a", "one", 7, &["written"])).is_none(), "the watch brings what is known");
    assert!(written(object("a", "new", 8, &["made"])).is_some());
    assert_eq!(names_of(&cache.by(By::Owner, "made")), ["a/new"]);
    assert!(cache.apply(object("a", "new", 8, &["made"])).is_none(), "the watch brings what is known");
    cache.remove(&object("a", "one", 10, &[]));
    assert!(written(object("a", "one", 9, &[])).is_none());
    assert!(written(object("a", "went", 9, &[])).is_none(), "the watch may have seen it go");
    assert!(cache.get("a", "one").is_none() && cache.get("a", "went").is_none());

    // The list that began since may have been made before it went.
    let sent = Instant::now();
    cache.begin_list();
    cache.apply(object("a", "new", 8, &[]));
    drop(cache.end_list());
    assert!(cache.apply_written(object("a", "late", 12, &[]), sent).is_none());

    // The deletion of an object is heard of after another one was made under its name.
    let made_again = |uid: &str, version| {
        let mut again = ConfigMap::clone(&object("a", "again", version, &[]));
        again.metadata.uid = Some(uid.to_owned());
        Arc::new(again)
    };
    assert!(written(made_again("new", 20)).is_some());
    assert!(cache.remove(&made_again("old", 19)).is_none());
    assert!(cache.get("a", "again").is_some());
    assert!(cache.remove(&made_again("new", 21)).is_some());

    // While the watch lists anew, only the list says what is still there.
    cache.begin_list();
    assert!(written(object("a", "new", 14, &[])).is_some());
    assert_eq!(cache.end_list().len(), 1);
}

#[test]
fn what_a_new_list_does_not_have_is_gone_and_what_it_has_unchanged_is_no_change() {
    let cache = Cache::<ConfigMap>::default();
    cache.apply(object("a", "stays", 1, &[]));
    cache.apply(object("a", "goes", 2, &["x"]));
    assert!(!cache.is_filled());
    cache.begin_list();
    assert!(cache.apply(object("a", "stays", 1, &[])).is_none());
    assert!(cache.apply(object("a", "comes", 3, &[])).is_some());
    let gone = cache.end_list();
    assert_eq!(gone.len(), 1);
    assert_eq!(gone[0].before.as_ref().unwrap().metadata.name.as_deref(), Some("goes"));
    assert_eq!(
        (names_of(&cache.all()), cache.count(By::Owner, "x")),
        (vec!["a/comes".into(), "a/stays".into()], 0)
    );
    assert!(cache.is_filled());
}

#[test]
fn a_namespace_that_is_listed_brings_what_was_not_kept_and_nothing_that_went_meanwhile() {
    let cache = Cache::<ConfigMap>::default();
    cache.apply(object("a", "known", 1, &[]));
    cache.begin_namespace("a");
    cache.remove(&object("a", "went", 5, &[]));
    let listed = [object("a", "known", 1, &[]), object("a", "went", 2, &[]), object("a", "new", 3, &["x"])];
    let changes = cache.end_namespace("a", listed.into_iter());
    assert_eq!(changes.map(|changes| changes.len()), Some(1));
    assert_eq!(
        (names_of(&cache.all()), cache.count(By::Owner, "x")),
        (vec!["a/known".into(), "a/new".into()], 1)
    );
}

/// A list does not tell what went: something that a list of one namespace still had may have gone before it.
#[test]
fn a_namespace_is_listed_again_when_the_watch_listed_anew_meanwhile() {
    let cache = Cache::<ConfigMap>::default();
    let list = || [object("a", "went", 2, &[])].into_iter();
    cache.begin_namespace("a");
    cache.begin_list();
    assert!(cache.end_namespace("a", list()).is_none(), "while it lists");
    cache.begin_namespace("a");
    assert!(cache.end_namespace("a", list()).is_none(), "it began after that");
    cache.begin_namespace("a");
    assert!(cache.end_list().is_empty());
    assert!(cache.end_namespace("a", list()).is_none(), "it began while it listed");

    cache.begin_namespace("a");
    cache.begin_list();
    assert!(cache.end_list().is_empty());
    assert!(cache.end_namespace("a", list()).is_none(), "when it has listed");
    assert!(cache.is_empty());
    cache.begin_namespace("a");
    assert_eq!(cache.end_namespace("a", list()).map(|changes| changes.len()), Some(1));
}

#[test]
fn many_are_shown_one_after_the_other_and_keys_without_a_look_at_them() {
    let cache = Cache::<ConfigMap>::default();
    for number in 0..200 {
        cache.apply(object("a", &format!("o{number:03}"), number + 1, &["x"]));
    }
    cache.apply(object("b", "other", 1000, &["y"]));
    let mut shown = Vec::new();
    cache.visit(By::Owner, "x", |one| shown.push(one.metadata.name.clone().unwrap()));
    shown.sort();
    assert_eq!(shown, (0..200).map(|number| format!("o{number:03}")).collect::<Vec<_>>());
    let keys: HashSet<Key> = cache.all_keys().into_iter().collect();
    assert!(keys.len() == 201 && keys.contains(&Key::new("b", "other")));
}

#[test]
fn what_is_held_as_text_comes_out_as_it_was() {
    let cache = Cache::<ConfigMap>::default();
    let (compressed, decoded) = (object("a", "packed", 2, &["x", "y"]), object("a", "decoded", 1, &["x"]));
    cache.apply(Arc::clone(&compressed));
    cache.apply(Arc::clone(&decoded));
    assert_eq!(cache.get("a", "packed").as_ref(), Some(&compressed));
    assert!(!Arc::ptr_eq(&cache.get("a", "packed").unwrap(), &compressed), "it is not kept decoded");
    assert!(Arc::ptr_eq(&cache.get("a", "decoded").unwrap(), &decoded));
}

#[test]
fn a_look_up_visits_what_it_finds() {
    let cache = Cache::<ConfigMap>::default();
    for number in 0..1000 {
        cache.apply(object(
            "a",
            &format!("o{number}"),
            number + 1,
            &[if number % 100 == 0 { "x" } else { "y" }],
        ));
    }
    let before = cache.visited();
    assert_eq!(cache.by(By::Owner, "x").len(), 10);
    assert!(cache.get("a", "o1").is_some());
    assert_eq!(cache.visited() - before, 11);
}

proptest! {
    /// Whatever comes and goes, an index finds what a walk over everything finds.
    #[test]
    fn indexes_agree_with_a_walk(steps in prop::collection::vec((0_u8..6, prop::collection::vec(0_u8..4, 0..3), any::<bool>()), 0..60)) {
        let cache = Cache::<ConfigMap>::default();
        for (version, (name, owners, is_removed)) in steps.into_iter().enumerate() {
            let owners: Vec<String> = owners.iter().map(|owner| format!("w{owner}")).collect();
            let owners: Vec<&str> = owners.iter().map(String::as_str).collect();
            let object = object("a", &format!("o{name}"), version as u64 + 1, &owners);
            if is_removed { cache.remove(&object); } else { cache.apply(object); }
            for owner in 0..4 {
                let owner = format!("w{owner}");
                let walked: Vec<Arc<ConfigMap>> =
                    cache.all().into_iter().filter(|one| one.data.as_ref().is_some_and(|data| data.contains_key(&owner))).collect();
                prop_assert_eq!(names_of(&cache.by(By::Owner, &owner)), names_of(&walked));
                prop_assert_eq!(names_of(&cache.with_prefix(By::OwnerInOrder, [owner])), names_of(&walked));
            }
            let owned: Vec<Arc<ConfigMap>> =
                cache.all().into_iter().filter(|one| one.data.as_ref().is_some_and(|data| !data.is_empty())).collect();
            let found = cache.with_prefix(By::OwnerInOrder, ["w".to_owned(), "w1".to_owned(), "x".to_owned()]);
            prop_assert_eq!(names_of(&found), names_of(&owned));
            prop_assert_eq!(cache.len(), cache.all().len());
        }
    }
}

/// The objects of an API server, the number of its events that the watch has delivered, and a list that is read
/// beside that.
#[derive(Default)]
struct Server {
    live: HashMap<u8, Arc<ConfigMap>>,
    /// Each object with whether it is still there.
    log: Vec<(Arc<ConfigMap>, bool)>,
    delivered: usize,
    version: u64,
    /// A snapshot, the last first.
    snapshot: Option<Vec<Arc<ConfigMap>>>,
}

impl Server {
    fn change(&mut self, name: u8, is_backfilled: bool, is_there: bool) {
        if !is_there && !self.live.contains_key(&name) {
            return;
        }
        self.version += 1;
        let mut object = ConfigMap::clone(&object("a", &name.to_string(), self.version, &[]));
        object.immutable = Some(is_backfilled);
        let object = Arc::new(object);
        if is_there {
            self.live.insert(name, Arc::clone(&object));
        } else {
            self.live.remove(&name);
        }
        self.log.push((object, is_there));
    }

    fn list(&mut self, cache: &Cache<ConfigMap>) {
        cache.begin_list();
        for object in self.live.values().filter(|object| !object.is_backfilled()) {
            cache.apply(Arc::clone(object));
        }
        let _ = cache.end_partial_list();
        self.delivered = self.log.len();
    }

    fn deliver(&mut self, cache: &Cache<ConfigMap>) {
        let Some((object, is_there)) = self.log.get(self.delivered).cloned() else { return };
        self.delivered += 1;
        if !is_there {
            cache.remove(&object);
        } else if !cache.knows(&object.metadata) {
            cache.apply(object);
        }
    }

    fn read_backfill(&mut self, cache: &Cache<ConfigMap>) {
        let Some(left) = &mut self.snapshot else {
            assert!(cache.begin_backfill());
            self.snapshot = Some(self.live.values().cloned().collect());
            return;
        };
        if let Some(object) = left.pop() {
            cache.apply_backfilled(object);
        } else {
            self.snapshot = None;
            let _ = cache.end_backfill();
        }
    }

    fn names(&self) -> Vec<String> {
        names_of(&self.live.values().cloned().collect::<Vec<_>>())
    }
}

proptest! {
    /// Whatever happens during a backfill, and however late the watch is: a cache that says that it is whole has
    /// what the API server has when the watch has delivered everything, and never misses what the first list is for.
    #[test]
    fn what_is_read_beside_the_watch_makes_the_cache_whole(
        before in prop::collection::vec((0_u8..6, any::<bool>()), 0..6),
        steps in prop::collection::vec((0_u8..8, 0_u8..6, any::<bool>()), 0..80),
    ) {
        let (cache, mut server) = (Cache::<ConfigMap>::default(), Server::default());
        for (name, is_backfilled) in before {
            server.change(name, is_backfilled, true);
        }
        prop_assert!(!cache.is_filled());
        server.list(&cache);
        prop_assert!(cache.is_filled() && !cache.is_complete());
        for (step, name, is_backfilled) in steps {
            match step {
                0 | 1 => server.change(name, is_backfilled, true),
                2 => server.change(name, is_backfilled, false),
                3 | 4 => server.deliver(&cache),
                5 | 6 => server.read_backfill(&cache),
                // A new list ends the backfill.
                _ => {
                    server.list(&cache);
                    server.snapshot = None;
                }
            }
            if server.delivered == server.log.len() {
                let known = names_of(&cache.all());
                if cache.is_complete() {
                    prop_assert_eq!(known, server.names());
                } else {
                    let first = server.live.values().filter(|object| !object.is_backfilled()).cloned();
                    let first = names_of(&first.collect::<Vec<_>>());
                    prop_assert!(first.iter().all(|name| known.contains(name)), "{known:?} {first:?}");
                }
            }
        }
        while server.delivered < server.log.len() {
            server.deliver(&cache);
        }
        server.snapshot = None;
        for _ in 0..server.live.len() + 2 {
            server.read_backfill(&cache);
        }
        prop_assert!(cache.is_complete());
        prop_assert_eq!(names_of(&cache.all()), server.names());
    }
}
