//! The steps of a sequence, and their frequencies.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proto::event::EdgeKind;
use tests::Act;

/// Number of accounts in a sequence.
pub const ACCOUNTS: usize = 6;

/// A command between two of the accounts.
#[derive(Clone, Debug)]
pub struct Pair {
    pub act: Act,
    pub actor: usize,
    pub other: usize,
    /// Index of one of a few dates; 0 means none.
    pub expiry: usize,
    /// Whether the actor must follow the other account.
    pub expected: Option<bool>,
}

/// A step's command or commands.
#[derive(Clone, Debug)]
pub enum What {
    /// One command.
    One(Pair),
    /// Several concurrent commands, so that one transaction executes them together. A second command on the same pair
    /// is left out: the contract leaves their order open.
    AtOnce(Vec<Pair>),
    /// A batch.
    Batch { atomic: bool, pairs: Vec<Pair> },
    /// SetAccountPrivacy.
    Privacy { user: usize, private: bool },
    /// ReplaceFollowing; the actor itself is left out.
    Replace { user: usize, targets: Vec<usize>, dry_run: bool },
    /// A chunk of an import; an edge from an account to itself is left out.
    Import { kind: EdgeKind, pairs: Vec<(usize, usize)>, expiry: usize },
    /// ArchiveAccount.
    Archive(usize),
    /// RestoreAccount.
    Restore(usize),
    /// EraseAccount.
    Erase(usize),
}

/// A fault during a step. A killed process is restarted.
#[derive(Clone, Copy, Debug)]
pub enum Killed {
    /// The command-service with this number.
    Command(usize),
    /// The projector.
    Projector,
    /// No process: the reply to a commit is lost.
    Reply,
}

/// A step of a sequence.
#[derive(Clone, Debug)]
pub struct Step {
    pub what: What,
    /// The command-service that is called first.
    pub replica: usize,
    /// The fault, and its delay after the command in milliseconds.
    pub kill: Option<(Killed, u64)>,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => Just(Act::Follow),
        2 => Just(Act::Unfollow),
        1 => Just(Act::RemoveFollower),
        2 => Just(Act::Mute),
        1 => Just(Act::Unmute),
        2 => Just(Act::Block),
        2 => Just(Act::Unblock),
        3 => Just(Act::Accept),
        1 => Just(Act::Reject),
        1 => Just(Act::Cancel),
    ]
}

fn pair() -> impl Strategy<Value = Pair> {
    (act(), 0..ACCOUNTS, 1..ACCOUNTS, 0..4_usize, weighted(0.1, any::<bool>())).prop_map(
        |(act, actor, apart, expiry, expected)| Pair {
            act,
            actor,
            other: (actor + apart) % ACCOUNTS,
            expiry,
            expected,
        },
    )
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        30 => pair().prop_map(What::One),
        6 => vec(pair(), 2..10).prop_map(What::AtOnce),
        8 => (any::<bool>(), vec(pair(), 1..12)).prop_map(|(atomic, pairs)| What::Batch { atomic, pairs }),
        5 => (0..ACCOUNTS, any::<bool>()).prop_map(|(user, private)| What::Privacy { user, private }),
        4 => (0..ACCOUNTS, vec(0..ACCOUNTS, 0..ACCOUNTS), weighted(0.2, Just(())))
            .prop_map(|(user, targets, dry)| What::Replace { user, targets, dry_run: dry.is_some() }),
        4 => import(),
        2 => (0..ACCOUNTS).prop_map(What::Archive),
        4 => (0..ACCOUNTS).prop_map(What::Restore),
        1 => (0..ACCOUNTS).prop_map(What::Erase),
    ]
}

fn import() -> impl Strategy<Value = What> {
    let kind = prop_oneof![Just(EdgeKind::Follow), Just(EdgeKind::Mute), Just(EdgeKind::Block)];
    (kind, vec((0..ACCOUNTS, 0..ACCOUNTS), 1..8), 0..4_usize).prop_map(|(kind, pairs, expiry)| What::Import {
        kind,
        pairs,
        expiry,
    })
}

fn kill() -> impl Strategy<Value = (Killed, u64)> {
    let killed = prop_oneof![
        3 => (0..2_usize).prop_map(Killed::Command),
        1 => Just(Killed::Projector),
        2 => Just(Killed::Reply),
    ];
    (killed, 0..20_u64)
}

/// A sequence.
pub fn sequence() -> impl Strategy<Value = Vec<Step>> {
    let step = (what(), 0..2_usize, weighted(0.06, kill())).prop_map(|(what, replica, kill)| Step {
        what,
        replica,
        kill,
    });
    vec(step, 10..50)
}
