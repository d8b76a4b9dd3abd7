//! `status` for people: facts, tables, and the checks at the end.

use comfy_table::Cell;

use super::report::{Replica, Report, ServiceReport, StreamReport, percent};
use crate::output::{self, verdict};

impl Report {
    pub fn text(&self) -> String {
        let mut text = self.facts();
        if !self.replicas.is_empty() {
            text += &format!("\n\n{}", self.replica_table());
        }
        if !self.stores.is_empty() {
            text += &format!("\n\n{}", self.store_table());
        }
        if !self.checks.is_empty() {
            text += &format!("\n\n{}", self.check_table());
        }
        let conclusion = if self.healthy {
            "healthy".to_owned()
        } else {
            let mut table = output::headless_table();
            for problem in &self.problems {
                table.add_row([verdict(&format!("problem: {problem}"), false)]);
            }
            output::table_text(table)
        };
        format!("{text}\n\n{conclusion}")
    }

    fn check_table(&self) -> String {
        let mut table = output::table(&["SERVICE", "CHECK", "STATE", "SINCE", "REASON", "WHAT TO DO"]);
        for check in &self.checks {
            table.add_row([
                Cell::new(check.service),
                Cell::new(check.title()),
                verdict(check.row.state, check.passes()),
                Cell::new(check.row.since.as_deref().unwrap_or_default()),
                Cell::new(&check.row.reason),
                Cell::new(if check.passes() { "" } else { check.row.action.as_str() }),
            ]);
        }
        output::table_text(table)
    }

    fn facts(&self) -> String {
        let mut table = output::headless_table();
        let head = match &self.head {
            Some(h) => format!("revision {} of epoch {}   token {}", h.revision, h.epoch, h.token),
            None => "unknown".to_owned(),
        };
        table.add_row(["head", &head]);
        let stream = self.stream.as_ref().map_or("unknown".to_owned(), StreamReport::text);
        table.add_row(["stream", &stream]);
        table.add_row(["command-service", &self.command_service.text()]);
        table.add_row(["query-service", &self.query_service.text()]);
        output::table_text(table)
    }

    fn replica_table(&self) -> String {
        let mut table =
            output::table(&["REPLICA", "VISIBLE", "COMPLETE", "BEHIND", "LAG", "DIFFERENCES", "SEEN"]);
        for replica in &self.replicas {
            table.add_row(replica.row());
        }
        output::table_text(table)
    }

    fn store_table(&self) -> String {
        let mut table = output::table(&["STORE", "SERVING", "REASON"]);
        for store in &self.stores {
            table.add_row([
                Cell::new(store.title()),
                verdict(if store.serving { "yes" } else { "no" }, store.serving),
                Cell::new(&store.reason),
            ]);
        }
        output::table_text(table)
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
    fn row(&self) -> Vec<Cell> {
        let complete = if self.complete { "yes".to_owned() } else { percent(self.sweep_progress) };
        vec![
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

impl ServiceReport {
    fn text(&self) -> String {
        let Some(version) = &self.version else {
            return format!("{}   does not answer", self.addr);
        };
        let mut text = format!("{}   version {version}", self.addr);
        if let Some(queued) = self.queued_commands {
            text += &format!("   {queued} commands waiting");
        }
        if let Some(jobs) = self.running_jobs {
            text += &format!("   {jobs} jobs running");
        }
        if let Some(budget) = self.fallback_budget {
            text += &format!("   fallback budget left {budget}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::{check, command, query, report};

    #[test]
    fn a_healthy_pipeline_has_no_problems() {
        let report = report(Ok(command()), Ok(query()));
        assert!(report.healthy(), "{:?}", report.problems);
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
