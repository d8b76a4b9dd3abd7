use service_kit::clock::ManualClock;

use super::*;

const START: OffsetDateTime = OffsetDateTime::UNIX_EPOCH;
const DAY: Duration = Duration::DAY;

/// PostgreSQL and this process on one machine or on two, and the judge.
struct Scene {
    database: ManualClock,
    process: ManualClock,
    judge: Judge,
    record: Record,
}

impl Scene {
    fn new() -> Self {
        let mut scene = Self::stopped();
        scene.note();
        assert_eq!(scene.judge(), Ok(()));
        scene
    }

    /// Before the process has read the record.
    fn stopped() -> Self {
        let now = START + DAY * 400;
        Self {
            database: ManualClock::at(now),
            process: ManualClock::at(now),
            judge: Judge::default(),
            record: Record::default(),
        }
    }

    fn reading(&self) -> Reading {
        let witness = Witness::read(&self.process);
        Reading { database: self.database.now(), before: witness, after: witness }
    }

    fn note(&mut self) {
        let reading = self.reading();
        self.judge.note(self.record.clone(), &reading);
    }

    fn judge(&mut self) -> Result<(), Distrust> {
        let reading = self.reading();
        self.judge.judge(&reading)
    }

    fn pass(&mut self, time: Duration) {
        self.database.advance(time);
        self.process.advance(time);
    }

    fn restart(&mut self) {
        self.judge = Judge::default();
        self.note();
    }
}

#[test]
fn time_that_passes_is_trusted() {
    let mut scene = Scene::new();
    for days in [1, 30, 300] {
        scene.pass(DAY * days);
        assert_eq!(scene.judge(), Ok(()));
    }
}

#[test]
fn a_jump_of_postgres_is_distrusted_until_it_is_back() {
    for by in [Duration::seconds(61), Duration::hours(3), DAY * 14] {
        for by in [by, -by] {
            let mut scene = Scene::new();
            scene.database.jump(by);
            assert_eq!(scene.judge(), Err(Distrust::Jumped(by)));
            scene.pass(Duration::hours(5));
            assert_eq!(scene.judge(), Err(Distrust::Jumped(by)));
            scene.database.jump(-by);
            assert_eq!(scene.judge(), Ok(()));
        }
    }
}

#[test]
fn a_jump_of_both_clocks_is_distrusted() {
    let mut scene = Scene::new();
    scene.database.jump(DAY);
    scene.process.jump(DAY);
    assert_eq!(scene.judge(), Err(Distrust::Jumped(DAY)));
}

#[test]
fn small_jumps_add_up() {
    let mut scene = Scene::new();
    scene.database.jump(Duration::seconds(40));
    scene.process.jump(Duration::seconds(40));
    assert_eq!(scene.judge(), Ok(()));
    scene.pass(Duration::seconds(10));
    scene.database.jump(Duration::seconds(40));
    scene.process.jump(Duration::seconds(40));
    assert!(matches!(scene.judge(), Err(Distrust::Jumped(_))));
}

#[test]
fn drift_is_followed() {
    let mut scene = Scene::new();
    for _ in 0..10_000 {
        scene.pass(Duration::hours(1));
        scene.database.jump(Duration::milliseconds(50));
        scene.process.jump(Duration::milliseconds(50));
        assert_eq!(scene.judge(), Ok(()));
    }
}

#[test]
fn readings_may_be_judged_out_of_order() {
    let mut scene = Scene::new();
    let older = scene.reading();
    scene.pass(Duration::SECOND);
    assert_eq!(scene.judge(), Ok(()));
    assert_eq!(scene.judge.judge(&older), Ok(()));
}

#[test]
fn a_jump_of_this_process_alone_is_a_difference() {
    let mut scene = Scene::new();
    scene.process.jump(DAY);
    assert_eq!(scene.judge(), Err(Distrust::Differs(-DAY)));
    scene.process.jump(-DAY);
    assert_eq!(scene.judge(), Ok(()));
}

#[test]
fn a_slow_answer_is_no_difference() {
    let mut scene = Scene::new();
    let before = Witness::read(&scene.process);
    scene.pass(Duration::minutes(5));
    let database = scene.database.now();
    scene.pass(Duration::minutes(5));
    let after = Witness::read(&scene.process);
    assert_eq!(scene.judge.judge(&Reading { database, before, after }), Ok(()));
}

#[test]
fn an_operator_ends_the_distrust() {
    let mut scene = Scene::new();
    scene.database.jump(DAY);
    assert!(scene.judge().is_err());
    scene.record.accepted += 1;
    scene.note();
    assert_eq!(scene.judge(), Ok(()));
    scene.database.jump(-DAY);
    assert_eq!(scene.judge(), Err(Distrust::Jumped(-DAY)));
}

#[test]
fn a_process_whose_clock_is_set_right_needs_no_second_acceptance() {
    for by in [Duration::hours(2), -DAY * 10] {
        let mut scene = Scene::new();
        scene.process.jump(by);
        assert_eq!(scene.judge(), Err(Distrust::Differs(-by)));
        scene.record.accepted += 1;
        scene.note();
        assert_eq!(scene.judge(), Ok(()));
        // Another wrong time is none that was accepted.
        scene.process.jump(-by * 3);
        assert_eq!(scene.judge(), Err(Distrust::Differs(by * 3)));
        scene.process.jump(by * 2);
        assert_eq!(scene.judge(), Ok(()));
        scene.process.jump(by);
        assert_eq!(scene.judge(), Err(Distrust::Differs(-by)), "the accepted difference is forgotten");
    }
}

#[test]
fn a_process_that_starts_compares_the_two_clocks() {
    let mut scene = Scene::stopped();
    assert_eq!(scene.judge(), Err(Distrust::Unread));
    scene.database.jump(DAY);
    scene.note();
    assert_eq!(scene.judge(), Err(Distrust::Differs(DAY)));
    scene.database.jump(-DAY);
    scene.note();
    assert_eq!(scene.judge(), Ok(()));
}

#[test]
fn a_noted_jump_outlives_a_restart() {
    let mut scene = Scene::new();
    scene.record.jumped = Some("it has jumped".to_owned());
    scene.note();
    assert_eq!(scene.judge(), Ok(()), "this process has seen the clock before");
    scene.restart();
    assert_eq!(scene.judge(), Err(Distrust::Noted("it has jumped".to_owned())));
    scene.record = Record { accepted: 1, ..Record::default() };
    scene.note();
    assert_eq!(scene.judge(), Ok(()));
}

#[test]
fn a_jump_while_nothing_ran_is_seen_by_the_last_heartbeat() {
    for by in [DAY, -DAY, Duration::minutes(-2)] {
        let mut scene = Scene::stopped();
        scene.record.seen_at = Some(scene.database.now());
        scene.database.jump(by);
        scene.process.jump(by);
        scene.restart();
        assert_eq!(scene.judge(), Err(Distrust::Unexplained(by)));
        scene.record.accepted += 1;
        scene.note();
        assert_eq!(scene.judge(), Ok(()));
    }
}

#[test]
fn a_short_outage_needs_no_operator() {
    let mut scene = Scene::stopped();
    scene.record.seen_at = Some(scene.database.now());
    scene.pass(Duration::minutes(50));
    scene.restart();
    assert_eq!(scene.judge(), Ok(()));
}

#[test]
fn dates_are_not_refused_because_of_a_wrong_clock() {
    let mut scene = Scene::new();
    let right = scene.database.now();
    assert_eq!(scene.judge.earliest(right, &scene.process), right);
    scene.database.jump(DAY);
    assert_eq!(scene.judge.earliest(scene.database.now(), &scene.process), right);
    scene.process.jump(DAY);
    assert_eq!(scene.judge.earliest(scene.database.now(), &scene.process), right);
    scene.record.accepted += 1;
    scene.note();
    assert_eq!(scene.judge.earliest(scene.database.now(), &scene.process), right + DAY);
}

#[test]
fn right_dates_of_the_past_are_not_refused_because_of_a_wrong_clock() {
    let jumps = [Duration::hours(2), DAY * 10];
    for by in jumps.into_iter().flat_map(|by| [by, -by]) {
        let mut scene = Scene::new();
        let right = scene.database.now();
        scene.process.jump(by);
        let _ = scene.judge();
        assert_eq!(scene.judge.latest(&scene.process), right, "this process's clock");
        assert_eq!(scene.judge.now(&scene.process), right);
        scene.restart();
        let _ = scene.judge();
        assert_eq!(scene.judge.latest(&scene.process), right.max(right + by), "and it was started again");
        assert_eq!(scene.judge.now(&scene.process), right);

        let mut scene = Scene::new();
        scene.database.jump(by);
        let _ = scene.judge();
        assert_eq!(scene.judge.latest(&scene.process), right.max(right + by), "PostgreSQL's clock");
        assert_eq!(scene.judge.now(&scene.process), right + by, "commits are dated by it");
    }
}
