//! I1 and I3 for other programs: the example subscriber in Python reaches the tables of PostgreSQL, with concurrent
//! writes while it exports, follows or is killed.

mod example;
mod made_up;
mod tables;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use devstack::Principal;
use proto::UserId;
use proto::event::EdgeKind;
use tests::clients::{follow, unfollow};
use tests::jobs::OnAccount;
use tests::truth::postgres::snapshot;
use tests::{Act, Ask, Commands, Endpoints, asks, graph, importing, truth, until, users};

use self::example::{Running, Subscriber};
use self::tables::Tables;

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_is_killed_and_started_again_holds_the_tables_of_postgresql() {
    let endpoints = Endpoints::shared();
    let nats = endpoints.logins.nats(Principal::Subscriber);
    let subscriber = Subscriber::new(&endpoints.query, &endpoints.token, nats);
    let cast = Cast::new(endpoints.commands());
    cast.before_the_export().await;
    let edges = graph::random(11, 400, 3_000);
    importing::all(&mut endpoints.commands(), &edges, 500).await;

    // The export and the first events run while the same edges are removed and added again.
    let writer = Writer::start(endpoints.commands(), edges);
    writer.has_written_more(20).await;
    let mut first = Running::start(&subscriber);
    assert!(first.says("exported ").await >= 1_500, "the imported edges, but for those that the writer took");
    let reached = first.says("at revision ").await;
    cast.while_it_follows().await;
    writer.has_written_more(50).await;
    while first.says("at revision ").await <= reached + 50 {}
    first.child.kill().await.expect("killed");
    writer.has_written_more(100).await;
    cast.while_it_is_dead().await;
    writer.stop().await;

    // Other tests write meanwhile, so the two are compared at one revision.
    let snapshot = snapshot(&endpoints.postgres().await).await;
    let (code, out, err) = subscriber.run(&["--until-revision", &snapshot.head.revision.to_string()]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.starts_with("resuming after revision "), "{out}");
    let tables = subscriber.tables();
    tables.assert_same(&snapshot);
    for kind in truth::KINDS {
        assert!(tables.edges.keys().any(|key| key.kind == kind), "there is none of {kind:?}");
    }
    cast.assert_told(&tables);

    let (code, out, err) = subscriber.run(&["--until-head"]).await;
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(subscriber.tables().revision >= snapshot.head.revision);
}

/// Accounts between which edges of every kind are added and removed.
struct Cast {
    commands: Commands,
    fan: UserId,
    idol: UserId,
    foe: UserId,
    /// Private from before the export.
    private: UserId,
    /// Private for a while.
    shy: UserId,
    /// Archived for a while.
    hidden: UserId,
    /// Erased.
    gone: UserId,
}

impl Cast {
    fn new(commands: Commands) -> Self {
        let [fan, idol, foe, private, shy, hidden, gone] = users();
        Self { commands, fan, idol, foe, private, shy, hidden, gone }
    }

    async fn changes(&self, ask: Ask) {
        assert!(ask.done(&self.commands).await.changed, "{ask:?}");
    }

    async fn before_the_export(&self) {
        let &Self { fan, idol, foe, private, hidden, gone, .. } = self;
        OnAccount::SetPrivate(true).finish(&self.commands, private).await;
        for (act, actor, other) in [
            (Act::Follow, fan, private),
            (Act::Follow, idol, private),
            (Act::Follow, foe, private),
            (Act::Follow, foe, fan),
            (Act::Mute, foe, fan),
            (Act::Follow, hidden, idol),
            (Act::Follow, fan, hidden),
            (Act::Follow, gone, idol),
            (Act::Follow, fan, gone),
            (Act::Mute, foe, gone),
        ] {
            self.changes(Ask::new(act, actor, other)).await;
        }
        self.changes(Ask::new(Act::Mute, fan, idol).until(asks::in_hours(5))).await;
        self.changes(Ask::new(Act::Block, idol, foe).until(asks::in_hours(3))).await;
    }

    async fn while_it_follows(&self) {
        let &Self { fan, idol, foe, private, shy, hidden, .. } = self;
        self.changes(Ask::new(Act::Accept, private, fan)).await;
        // Permanent now: the edge stays, and is updated.
        self.changes(Ask::new(Act::Mute, fan, idol)).await;
        self.changes(Ask::new(Act::Unmute, foe, fan)).await;
        OnAccount::SetPrivate(true).finish(&self.commands, shy).await;
        OnAccount::Archive.finish(&self.commands, hidden).await;
    }

    async fn while_it_is_dead(&self) {
        let &Self { fan, idol, foe, private, shy, hidden, gone, .. } = self;
        self.changes(Ask::new(Act::Reject, private, foe)).await;
        self.changes(Ask::new(Act::Unblock, idol, foe)).await;
        // Its follow ends with it.
        self.changes(Ask::new(Act::Block, fan, foe).until(asks::in_hours(8))).await;
        OnAccount::SetPrivate(false).finish(&self.commands, shy).await;
        OnAccount::SetPrivate(true).finish(&self.commands, idol).await;
        OnAccount::Restore.finish(&self.commands, hidden).await;
        OnAccount::Erase.finish(&self.commands, gone).await;
    }

    /// Properties that the comparison with PostgreSQL cannot check: that the events existed at all.
    fn assert_told(&self, tables: &Tables) {
        assert_eq!(tables.accounts.get(&self.shy), Some(&(Some(false), None)));
        assert_eq!(tables.accounts.get(&self.idol), Some(&(Some(true), None)));
        assert_eq!(tables.accounts.get(&self.hidden), Some(&(None, Some("active".to_owned()))));
        assert_eq!(tables.accounts.get(&self.gone), None);
        let of = |user| tables.edges.keys().filter(move |key| key.source == user || key.target == user);
        assert_eq!(of(self.gone).count(), 0);
        assert_eq!(of(self.hidden).count(), 2, "its edges are back");
        for (kind, count) in
            [(EdgeKind::Follow, 1), (EdgeKind::FollowRequest, 1), (EdgeKind::Mute, 0), (EdgeKind::Block, 0)]
        {
            assert_eq!(of(self.private).filter(|key| key.kind == kind).count(), count, "{kind:?}");
        }
    }
}

/// Unfollows and follows again without a pause, until it is stopped.
struct Writer {
    written: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Writer {
    fn start(mut commands: Commands, edges: Vec<(String, String)>) -> Self {
        let written = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&written);
        let task = tokio::spawn(async move {
            for round in 0.. {
                for (index, (source, target)) in edges.iter().enumerate() {
                    // A third of them is always removed, in each round another third.
                    let changed = if (round + index) % 3 == 0 {
                        unfollow(&mut commands, source, target).await.map(|answer| answer.changed)
                    } else {
                        follow(&mut commands, source, target).await.map(|answer| answer.changed)
                    };
                    count.fetch_add(u64::from(changed.expect("a write")), Ordering::Relaxed);
                }
            }
        });
        Self { written, task }
    }

    async fn has_written_more(&self, more: u64) {
        let wanted = self.written.load(Ordering::Relaxed) + more;
        until("more to be written", || async {
            let written = self.written.load(Ordering::Relaxed);
            if written >= wanted { Ok(()) } else { Err(format!("{written} of {wanted}")) }
        })
        .await;
    }

    /// Ends it; the write in progress may take effect or not.
    async fn stop(self) {
        self.task.abort();
        if let Err(error) = self.task.await {
            assert!(error.is_cancelled(), "the writer failed: {error}");
        }
    }
}
