use std::borrow::Cow;

use sqlx::error::{DatabaseError, ErrorKind};

use super::*;

/// An error of the server.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(&'static str);

impl DatabaseError for Refused {
    fn message(&self) -> &str {
        "the server's words"
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(self.0.into())
    }

    fn as_error(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn std::error::Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn std::error::Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

fn refused(code: &'static str) -> sqlx::Error {
    sqlx::Error::Database(Box::new(Refused(code)))
}

#[test]
fn a_refused_login_is_a_mistake_of_the_settings() {
    for code in ["28P01", "28000", "3D000", "22023", "42501"] {
        for error in [unfit(refused(code)), failed(refused(code))] {
            assert!(matches!(error, Error::Misconfigured(_)), "{code}: {error:?}");
            let said = problem(&error).expect("a reason");
            assert!(said.contains("the server's words") && said.contains("DATABASE_URL"), "{said}");
        }
    }
}

#[test]
fn an_outage_is_none() {
    for error in [refused("57P03"), refused("53300"), sqlx::Error::PoolTimedOut] {
        assert!(matches!(unfit(error), Error::Failed(_)));
    }
    assert!(matches!(failed(refused(CANCELED)), Error::TimedOut));
    let said = problem(&unfit(refused("53300")));
    assert_eq!(said.as_deref(), Some("PostgreSQL refuses: the server's words"));
    let outdated = unfit(migrations::Error::Outdated { found: 1, needed: 2 });
    assert!(problem(&outdated).is_some_and(|said| said.contains("followgraph migrate")));
    assert_eq!(problem(&Error::TimedOut), None);
}
