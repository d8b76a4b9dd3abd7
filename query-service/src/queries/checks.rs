//! Who of some accounts an account follows.

use std::time::Duration;

use futures::future::BoxFuture;
use proto::UserId;

use super::{Error, Question, Reader, Versioned};

/// Whom of these does the viewer follow?
#[derive(Debug)]
pub struct Check {
    /// Who follows or not.
    pub viewer: UserId,
    /// Who is followed or not.
    pub targets: Vec<UserId>,
}

impl Question for Check {
    type Answer = Vec<bool>;

    fn name(&self) -> &'static str {
        "check"
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn items(&self) -> usize {
        self.targets.len()
    }

    fn ask<'a>(
        &'a self,
        reader: &'a dyn Reader,
        within: Duration,
    ) -> BoxFuture<'a, Result<Versioned<Self::Answer>, Error>> {
        reader.check(self.viewer, &self.targets, within)
    }
}
