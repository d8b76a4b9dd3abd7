//! Decides an atomic batch.

use super::change::Stamp;
use super::command::{Command, PairCommand, Touches};
use super::decision::{Decision, Report};
use super::graph::Graph;
use super::net::net;
use super::pair::decide_pair;
use super::refusal::Refused;
use super::rules::Rules;

/// Decides the commands in order on a copy of what they touch. The decision has the net changes; one refused command
/// refuses the batch.
pub(super) fn decide_batch(
    graph: &Graph,
    commands: &[PairCommand],
    rules: &Rules,
) -> Result<Decision, Refused> {
    let mut touches = Touches::default();
    Command::Batch(commands.to_vec()).touches(&mut touches);
    let mut part = graph.part(&touches.edges, &touches.accounts);
    // No edge that was read can have this revision, so no etag that was read matches an edge that the batch has
    // changed.
    let stamp = Stamp { revision: proto::Revision::MAX, time: rules.now };
    let mut all = Vec::new();
    let mut changed = Vec::with_capacity(commands.len());
    for (index, command) in commands.iter().enumerate() {
        let changes =
            decide_pair(&part, command, rules).map_err(|refusal| Refused { refusal, index: Some(index) })?;
        // It cannot fail: a part has all accounts that the batch touches.
        let _ = part.commit(&changes, &[], stamp);
        changed.push(!changes.is_empty());
        all.extend(changes);
    }
    Ok(Decision { changes: net(&part, &all), report: Report::Batch(changed), ..Decision::default() })
}
