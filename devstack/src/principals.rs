//! Users of the servers: the services, a subscriber and the operator.
//!
//! Their permissions are those of production: `migrations/roles`.

/// A user of PostgreSQL, NATS or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Principal {
    /// Owner of the database, operator of NATS.
    Operator,
    /// command-service.
    Command,
    /// projector.
    Projector,
    /// query-service.
    Query,
    /// A reader of the stream without access to the database.
    Subscriber,
}

impl Principal {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Operator, Self::Command, Self::Projector, Self::Query, Self::Subscriber];

    /// The user at NATS.
    pub fn nats_user(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Command => "command-service",
            Self::Projector => "projector",
            Self::Query => "query-service",
            Self::Subscriber => "subscriber",
        }
    }

    /// The variable that `migrations/roles/nats.conf` takes the user's password from.
    pub fn nats_password_variable(self) -> &'static str {
        match self {
            Self::Operator => "OPERATOR_NATS_PASSWORD",
            Self::Command => "COMMAND_SERVICE_NATS_PASSWORD",
            Self::Projector => "PROJECTOR_NATS_PASSWORD",
            Self::Query => "QUERY_SERVICE_NATS_PASSWORD",
            Self::Subscriber => "SUBSCRIBER_NATS_PASSWORD",
        }
    }

    /// The role in PostgreSQL, and the variable with its password for `followgraph migrate --roles`. `None` for the
    /// owner, who exists before the migration, and for a subscriber, who has no role.
    pub fn postgres_role(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Command => Some(("followgraph_command", "COMMAND_SERVICE_DATABASE_PASSWORD")),
            Self::Projector => Some(("followgraph_projector", "PROJECTOR_DATABASE_PASSWORD")),
            Self::Query => Some(("followgraph_query", "QUERY_SERVICE_DATABASE_PASSWORD")),
            Self::Operator | Self::Subscriber => None,
        }
    }
}
