//! A NATS server with an operator, whose users log in with JWTs that expire.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use devstack::daemon::Daemon;
use devstack::ports::{Claim, loopback};
use devstack::{Tools, http};
use nkeys::KeyPair;
use serde_json::{Value, json};
use time::OffsetDateTime;

/// The server, and the key with which its account signs users.
pub struct NatsOperator {
    account: KeyPair,
    claims: [Claim; 2],
    folder: PathBuf,
    daemon: Daemon,
}

/// The content of a credentials file.
#[derive(Debug, Clone)]
pub struct Login {
    pub jwt: String,
    /// The seed of the user's key.
    pub seed: String,
}

impl Login {
    /// The file's text.
    pub fn file(&self) -> String {
        format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            self.jwt, self.seed
        )
    }
}

impl NatsOperator {
    /// Starts the server.
    ///
    /// # Panics
    /// If it does not start.
    pub fn start() -> Self {
        let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
        let claims = [(); 2].map(|()| Claim::any().expect("a free port"));
        let folder = std::env::temp_dir().join(format!("followgraph-nats-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let own = json!({"type": "operator", "version": 2});
        let limits = json!({"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1,
            "wildcards": true, "conn": -1, "leaf": -1});
        let rights = json!({"type": "account", "version": 2, "limits": limits});
        let configuration = format!(
            "listen: \"{}\"\nhttp: \"{}\"\noperator: {}\nresolver: MEMORY\nresolver_preload: {{ {}: {} }}\n",
            loopback(claims[0].port),
            loopback(claims[1].port),
            token(&operator, &operator.public_key(), None, &own),
            account.public_key(),
            token(&operator, &account.public_key(), None, &rights),
        );
        let file = folder.join("nats.conf");
        std::fs::write(&file, configuration).expect("written");
        let mut command = Command::new(Tools::install().expect("the tools are installed").nats_server);
        command.arg("--config").arg(file);
        let mut daemon = Daemon::new("NATS with an operator", folder.join("nats.log"), "Read the log above.");
        let monitor = loopback(claims[1].port);
        daemon.start(command, || http::is_ok(monitor, "/healthz")).expect("the server starts");
        Self { account, claims, folder, daemon }
    }

    pub fn url(&self) -> String {
        format!("nats://{}", loopback(self.claims[0].port))
    }

    /// A new user with all permissions until the end of `validity`.
    ///
    /// # Panics
    /// Not for a validity of this century.
    pub fn login(&self, validity: Duration) -> Login {
        let user = KeyPair::new_user();
        let end = (OffsetDateTime::now_utc() + validity).unix_timestamp();
        let rights = json!({"type": "user", "version": 2, "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1});
        let jwt = token(&self.account, &user.public_key(), Some(end), &rights);
        Login { jwt, seed: user.seed().expect("a user's key has a seed") }
    }

    /// A folder that is removed with the server.
    pub fn folder(&self) -> &PathBuf {
        &self.folder
    }
}

impl Drop for NatsOperator {
    fn drop(&mut self) {
        // Files that are left are in the temporary folder.
        let _ = self.daemon.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn token(issuer: &KeyPair, subject: &str, end: Option<i64>, rights: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let mut claims = json!({
        "jti": uuid::Uuid::new_v4().to_string(),
        "iat": OffsetDateTime::now_utc().unix_timestamp(),
        "iss": issuer.public_key(),
        "name": "test",
        "sub": subject,
        "nats": rights,
    });
    if let Some(end) = end {
        claims["exp"] = end.into();
    }
    let signed = format!("{}.{}", part(&json!({"typ": "JWT", "alg": "ed25519-nkey"})), part(&claims));
    let signature = issuer.sign(signed.as_bytes()).expect("the key has a seed");
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}
