//! The readiness checks of the projector, with advice for operators.

use service_kit::readiness::CheckKind;

/// Events can be read and belong to the history of the read model.
pub const STREAM: CheckKind = CheckKind {
    name: "stream",
    action: "bring PostgreSQL back, or open a new epoch if it has lost commits: runbook FollowgraphProjectionFails",
};
/// Neo4j accepts writes of this projector.
pub const READ_MODEL: CheckKind = CheckKind {
    name: "read model",
    action: "do as the reason says; else check that Neo4j runs and this process reaches it, then read the log",
};
/// The read model is complete.
pub const COMPLETE: CheckKind =
    CheckKind { name: "complete", action: "wait until it is built: runbook FollowgraphReplicaIncomplete" };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_is_in_the_operations_guide() {
        let guide = include_str!("../../docs/operations.md");
        for kind in [STREAM, READ_MODEL, COMPLETE] {
            assert!(guide.contains(&format!("| `{}`", kind.name)), "{}", kind.name);
            assert!(!kind.action.is_empty(), "{}", kind.name);
        }
    }
}
