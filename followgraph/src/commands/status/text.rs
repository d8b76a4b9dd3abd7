//! `status` for people: facts, tables, and the checks at the end.

use comfy_table::Cell;

use super::report::{Check, Replica, Report, ServiceReport, Store, StreamReport};
use crate::output::{self, verdict};

const REPLICAS: [&str; 7] = ["REPLICA", "VISIBLE", "COMPLETE", "BEHIND", "LAG", "DIFFERENCES", "SEEN"];
const STORES: [&str; 3] = ["STORE", "SERVING", "REASON"];
const CHECKS: [&str; 6] = ["SERVICE", "CHECK", "STATE", "SINCE", "REASON", "WHAT TO DO"];

impl Report {
    pub fn text(&self) -> String {
        let conclusion = if self.healthy {
            "healthy".to_owned()
        } else {
            let problem = |problem: &String| [verdict(&format!("problem: {problem}"), false)];
            output::table(&[], self.problems.iter().map(problem))
        };
        let parts = [
            self.facts(),
            output::table(&REPLICAS, self.replicas.iter().map(Replica::cells)),
            output::table(&STORES, self.stores.iter().map(Store::cells)),
            output::table(&CHECKS, self.checks.iter().map(Check::cells)),
            conclusion,
        ];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n\n")
    }

    fn facts(&self) -> String {
        let head = match &self.head {
            Some(h) => format!("revision {} of epoch {}   token {}", h.revision, h.epoch, h.token),
            None => "unknown".to_owned(),
        };
        let stream = self.stream.as_ref().map_or("unknown".to_owned(), StreamReport::text);
        let facts = [
            ("head", head),
            ("stream", stream),
            ("command-service", self.command_service.text()),
            ("query-service", self.query_service.text()),
        ];
        output::facts(facts)
    }
}

impl StreamReport {
    fn text(&self) -> String {
        let leader = if self.leader { "publishes" } else { "does not publish" };
        format!(
            "{} {}   revisions {} to {}   this process {leader}",
            self.name, self.state, self.first_revision, self.last_revision
        )
    }
}

impl Replica {
    fn cells(&self) -> [Cell; 7] {
        let complete =
            if self.complete { "yes".to_owned() } else { format!("{:.0} %", self.sweep_progress * 100.0) };
        [
            Cell::new(&self.name),
            Cell::new(self.visible),
            verdict(&complete, self.complete),
            Cell::new(self.lag_revisions),
            Cell::new(self.lag_ms.map_or(String::new(), |ms| format!("{ms:.1} ms"))),
            Cell::new(self.differences),
            Cell::new(self.seen_at.as_deref().unwrap_or_default()),
        ]
    }
}

impl Store {
    fn cells(&self) -> [Cell; 3] {
        let serving = verdict(if self.serving { "yes" } else { "no" }, self.serving);
        let title = format!("{} {}", self.name, self.replica);
        [Cell::new(title.trim_end()), serving, Cell::new(&self.reason)]
    }
}

impl Check {
    fn cells(&self) -> [Cell; 6] {
        [
            Cell::new(self.service),
            Cell::new(self.title()),
            verdict(self.row.state, self.passes()),
            Cell::new(self.row.since.as_deref().unwrap_or_default()),
            Cell::new(&self.row.reason),
            Cell::new(if self.passes() { "" } else { &self.row.action }),
        ]
    }
}

impl ServiceReport {
    fn text(&self) -> String {
        let Some(version) = &self.version else {
            return format!("{}   does not answer", self.addr);
        };
        let number =
            |number: Option<u32>, of: &str| number.map(|n| format!("   {n} {of}")).unwrap_or_default();
        let queued = number(self.queued_commands, "commands waiting");
        let running = number(self.running_jobs, "jobs running");
        let budget = self.fallback_budget.map(|budget| format!("   fallback budget left {budget}"));
        format!("{}   version {version}{queued}{running}{}", self.addr, budget.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{check, command, query, report};

    #[test]
    fn a_healthy_pipeline_has_no_problems() {
        let report = report(Ok(command()), Ok(query()));
        assert!(report.healthy, "{:?}", report.problems);
        assert_eq!(
            report.text(),
            "head             revision 901 of epoch 1   token t\n\
             stream           FOLLOWGRAPH ok   revisions 1 to 901   this process publishes\n\
             command-service  c:1   version 0.1.0   0 commands waiting   0 jobs running\n\
             query-service    q:2   version 0.1.0   fallback budget left 0\n\n\
             REPLICA      VISIBLE  COMPLETE  BEHIND  LAG  DIFFERENCES  SEEN\n\
             projector-0  901      yes       0            0\n\n\
             SERVICE          CHECK     STATE  SINCE                 REASON  WHAT TO DO\n\
             command-service  postgres  ok     2012-07-01T00:02:52Z\n\
             query-service    stores    ok     2012-07-01T00:02:52Z\n\n\
             healthy"
        );
    }

    #[test]
    fn a_failed_check_says_what_to_do() {
        let mut status = query();
        status.checks.push(check("heartbeat", "command-service", "the last heartbeat is 12 s old"));
        let text = report(Ok(command()), Ok(status)).text();
        let row = text.lines().find(|line| line.contains("heartbeat command-service")).expect("a row");
        assert!(row.contains("failed") && row.contains("12 s old") && row.contains("look at it"), "{text}");
        assert!(
            text.ends_with(
                "problem: query-service: heartbeat command-service: the last heartbeat is 12 s old"
            )
        );
    }
}
