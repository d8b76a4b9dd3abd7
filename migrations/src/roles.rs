//! The roles of the services in PostgreSQL: the script that creates them and grants their rights, and their passwords.
//!
//! The server never sees a password. The script fails if the owner may not create roles, or may not change a role that
//! another user has created.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::SecureRandom as _;
use ring::{digest, hmac, pbkdf2};
use sqlx::PgPool;

use super::Error;

const SCRIPT: &str = include_str!("../roles/postgres.sql");

/// Rounds of the key derivation, PostgreSQL's default.
const ITERATIONS: u32 = 4_096;
const SALT_BYTES: usize = 16;

/// A service with its own role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// command-service.
    Command,
    /// query-service.
    Query,
    /// projector.
    Projector,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Command, Self::Query, Self::Projector];

    /// Name of the role in PostgreSQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Command => "followgraph_command",
            Self::Query => "followgraph_query",
            Self::Projector => "followgraph_projector",
        }
    }
}

/// Why a password cannot be set.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The password has other characters, which would need normalisation.
    #[error("a password must be printable ASCII without blanks")]
    Characters,
    /// The system has no random numbers.
    #[error("no random numbers")]
    Random,
}

/// Creates missing roles and grants the rights of all roles, in one transaction.
pub async fn grant(pool: &PgPool) -> Result<(), Error> {
    let mut transaction = pool.begin().await?;
    sqlx::raw_sql(SCRIPT).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}

/// Sets a role's password. It sends a verifier, from which the password cannot be derived, so neither the server nor
/// its log sees the password.
pub async fn set_password(pool: &PgPool, role: Role, verifier: &Verifier) -> Result<(), Error> {
    let mut transaction = pool.begin().await?;
    sqlx::query(
        "-- role_password_arguments
         SELECT set_config('followgraph.role', $1, true), set_config('followgraph.verifier', $2, true)",
    )
    .bind(role.name())
    .bind(&verifier.0)
    .execute(&mut *transaction)
    .await?;
    // ALTER ROLE takes no parameters.
    sqlx::raw_sql(
        "DO $$ BEGIN
             EXECUTE format('ALTER ROLE %I PASSWORD %L',
                 current_setting('followgraph.role'), current_setting('followgraph.verifier'));
         END $$",
    )
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}

/// The verifier of a password, as PostgreSQL stores it (RFC 5803).
pub struct Verifier(String);

impl Verifier {
    /// The verifier of a password, with a random salt.
    pub fn of(password: &str) -> Result<Self, PasswordError> {
        let mut salt = [0; SALT_BYTES];
        ring::rand::SystemRandom::new().fill(&mut salt).map_err(|_| PasswordError::Random)?;
        Self::salted(password, &salt)
    }

    fn salted(password: &str, salt: &[u8]) -> Result<Self, PasswordError> {
        if password.is_empty() || !password.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(PasswordError::Characters);
        }
        let mut salted = [0; digest::SHA256_OUTPUT_LEN];
        let rounds = std::num::NonZeroU32::new(ITERATIONS).unwrap_or(std::num::NonZeroU32::MIN);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, password.as_bytes(), &mut salted);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        let stored = digest::digest(&digest::SHA256, hmac::sign(&key, b"Client Key").as_ref());
        let server = hmac::sign(&key, b"Server Key");
        Ok(Self(format!(
            "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
            BASE64.encode(salt),
            BASE64.encode(stored),
            BASE64.encode(server)
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verifier_equals_postgresqls_own() {
        // The exchange of RFC 7677, section 3: user "user", password "pencil".
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let verifier = Verifier::salted("pencil", &salt).expect("a good password");
        assert_eq!(
            verifier.0,
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
             wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
    }

    #[test]
    fn passwords_that_need_normalisation_are_refused() {
        for password in ["", "with blank", "schön", "new\nline"] {
            assert!(Verifier::of(password).is_err(), "{password:?}");
        }
        let (one, other) = (Verifier::of("pencil"), Verifier::of("pencil"));
        assert_ne!(one.expect("good").0, other.expect("good").0, "each has a salt of its own");
    }

    #[test]
    fn the_script_names_every_role() {
        for role in Role::ALL {
            assert!(SCRIPT.contains(&format!("'{}'", role.name())), "{role:?}");
        }
    }
}
