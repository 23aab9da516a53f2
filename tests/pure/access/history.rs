//! What can happen.

use proptest::prelude::*;
use proptest::sample::select;

/// Something that happens. What does not fit is not done: nobody can edit what is not there.
#[derive(Clone, Debug)]
pub enum Step {
    /// An assignment or an eligibility is made or edited.
    Give {
        gift: usize,
        by: usize,
        draft: Draft,
    },
    Take {
        gift: usize,
    },
    /// It is deleted and made again, and nobody looks at what was activated with it.
    Again {
        gift: usize,
        by: usize,
        draft: Draft,
    },
    /// An activation is asked for.
    Ask {
        slot: usize,
        by: usize,
        draft: AskDraft,
    },
    GiveBack {
        slot: usize,
    },
    Drop {
        slot: usize,
    },
    Vote {
        latest: usize,
        by: usize,
        approves: bool,
        lawful: bool,
    },
    Rules {
        scope: usize,
        change: Option<usize>,
        activation: Option<usize>,
    },
    Room {
        room: usize,
        what: Fate,
    },
    /// The admission policies are spoilt, or put back: first they settle.
    Trust {
        better: bool,
        /// Whether the operator is there in the meantime.
        alive: bool,
    },
    Pass {
        seconds: i32,
    },
    /// How far the operator is off.
    Skew {
        seconds: i32,
    },
    Drift {
        nth: usize,
        what: Drift,
    },
    /// Everything is looked at in some order, until the operator dies after so many writes. Those in
    /// `faults` fail.
    Work {
        order: u64,
        writes: usize,
        faults: u32,
    },
    /// Something is planned, and done later.
    Plan {
        nth: usize,
    },
    CarryOut {
        nth: usize,
    },
    Close {
        faults: u32,
    },
    Restart,
    Settle {
        order: u64,
    },
}

#[derive(Clone, Debug)]
pub struct Draft {
    pub role: usize,
    pub workload: Option<usize>,
    /// Which of the principals, as bits.
    pub people: u8,
    /// Minutes from now.
    pub starts: Option<i64>,
    /// Minutes from then.
    pub ends: Option<i64>,
    pub minutes: i64,
    pub says_why: bool,
    pub ticket: bool,
    pub mfa: bool,
    pub votes: Option<usize>,
}

#[derive(Clone, Debug)]
pub struct AskDraft {
    pub minutes: i64,
    pub says_why: bool,
    pub ticket: bool,
    pub mfa: bool,
    pub starts: Option<i64>,
    pub stamped: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Fate {
    Comes,
    Leaves,
    Goes,
    Guarded,
    Bare,
    Isolated,
    IsolatedByLabel,
    Open,
    OpenByLabel,
}

/// What people do to the operator's bindings and roles.
#[derive(Clone, Copy, Debug)]
pub enum Drift {
    Delete,
    AddSubject,
    RemoveEnd,
    Forge,
    WidenRole,
}

fn rarely() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.1)
}

fn draft() -> impl Strategy<Value = Draft> {
    let few = prop_oneof![4 => Just(None), 1 => (0..3_usize).prop_map(Some)];
    let starts = prop_oneof![5 => Just(None), 1 => (-30..90_i64).prop_map(Some)];
    let ends = prop_oneof![2 => Just(None), 1 => (-20..300_i64).prop_map(Some)];
    let length = select(&[30_i64, 60, 120, 240][..]);
    (
        (0..7_usize, prop::option::of(0..3_usize), (1..64_u8, 0..64_u8).prop_map(|(some, more)| some | more)),
        (starts, ends, length),
        (rarely(), rarely(), rarely(), few),
    )
        .prop_map(
            |((role, workload, people), (starts, ends, minutes), (says_why, ticket, mfa, votes))| Draft {
                role,
                workload,
                people,
                starts,
                ends,
                minutes,
                says_why,
                ticket,
                mfa,
                votes,
            },
        )
}

fn ask() -> impl Strategy<Value = AskDraft> {
    let starts = prop_oneof![4 => Just(None), 1 => (-30..90_i64).prop_map(Some)];
    let said = || prop::bool::weighted(0.95);
    (select(&[15_i64, 15, 30, 60, 120, 240][..]), said(), said(), said(), starts, prop::bool::weighted(0.95))
        .prop_map(|(minutes, says_why, ticket, mfa, starts, stamped)| AskDraft {
            minutes,
            says_why,
            ticket,
            mfa,
            starts,
            stamped,
        })
}

fn step() -> impl Strategy<Value = Step> {
    use Fate::{Bare, Comes, Goes, Guarded, Isolated, IsolatedByLabel, Leaves, Open, OpenByLabel};
    let fate = select(
        &[Comes, Comes, Leaves, Goes, Guarded, Bare, Isolated, IsolatedByLabel, Open, OpenByLabel][..],
    );
    let drift =
        select(&[Drift::Delete, Drift::AddSubject, Drift::RemoveEnd, Drift::Forge, Drift::WidenRole][..]);
    let votes = || prop_oneof![3 => Just(None), 1 => (0..3_usize).prop_map(Some)];
    // Half of the time nothing fails.
    let faults = || prop_oneof![1 => Just(0_u32), 1 => any::<u32>().prop_map(|bits| bits & (bits >> 7))];
    let some_writes = prop_oneof![3 => 0..12_usize, 1 => Just(usize::MAX)];
    prop_oneof![
        8 => (0..8_usize, 0..4_usize, draft()).prop_map(|(gift, by, draft)| Step::Give { gift, by, draft }),
        1 => (0..8_usize).prop_map(|gift| Step::Take { gift }),
        1 => (4..8_usize, 0..4_usize, draft()).prop_map(|(gift, by, draft)| Step::Again { gift, by, draft }),
        14 => (0..8_usize, 0..5_usize, ask()).prop_map(|(slot, by, draft)| Step::Ask { slot, by, draft }),
        2 => (0..8_usize).prop_map(|slot| Step::GiveBack { slot }),
        1 => (0..8_usize).prop_map(|slot| Step::Drop { slot }),
        10 => (0..3_usize, 0..4_usize, prop::bool::weighted(0.85), prop::bool::weighted(0.9))
            .prop_map(|(latest, by, approves, lawful)| Step::Vote { latest, by, approves, lawful }),
        2 => (0..3_usize, votes(), votes())
            .prop_map(|(scope, change, activation)| Step::Rules { scope, change, activation }),
        4 => (0..8_usize, fate).prop_map(|(room, what)| Step::Room { room, what }),
        1 => (prop::bool::weighted(0.7), any::<bool>()).prop_map(|(better, alive)| Step::Trust { better, alive }),
        4 => (0..6_000_i32).prop_map(|seconds| Step::Pass { seconds }),
        2 => (-4_000..4_000_i32).prop_map(|seconds| Step::Skew { seconds }),
        2 => (0..20_usize, drift).prop_map(|(nth, what)| Step::Drift { nth, what }),
        10 => (any::<u64>(), some_writes, faults())
            .prop_map(|(order, writes, faults)| Step::Work { order, writes, faults }),
        3 => (0..30_usize).prop_map(|nth| Step::Plan { nth }),
        3 => (0..3_usize).prop_map(|nth| Step::CarryOut { nth }),
        6 => faults().prop_map(|faults| Step::Close { faults }),
        2 => Just(Step::Restart),
        7 => any::<u64>().prop_map(|order| Step::Settle { order }),
    ]
}

/// Most of what happens needs somebody who is eligible, so that comes first.
pub fn history() -> impl Strategy<Value = Vec<Step>> {
    let gift = (4..8_usize, 0..4_usize, draft()).prop_map(|(gift, by, draft)| Step::Give { gift, by, draft });
    let first = (prop::collection::vec(gift, 1..5), any::<u64>());
    (first, prop::collection::vec(step(), 1..100)).prop_map(|((mut steps, order), later)| {
        steps.push(Step::Settle { order });
        steps.extend(later);
        steps
    })
}
