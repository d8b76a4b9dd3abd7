//! The checks of the projector: their names and advice.

use service_kit::readiness::CheckKind;

/// Events can be read, and are of the history that the read model follows.
pub const STREAM: CheckKind = CheckKind {
    name: "stream",
    action: "bring PostgreSQL back, or open a new epoch if it has lost commits: runbook FollowgraphProjectionFails",
};
/// Neo4j takes writes of this projector.
pub const READ_MODEL: CheckKind = CheckKind {
    name: "read model",
    action: "do as the reason says; else check that Neo4j runs and this process reaches it, then read the log",
};
/// The read model was built.
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
