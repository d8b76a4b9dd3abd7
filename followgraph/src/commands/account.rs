//! `privacy`, `erase`, `archive` and `restore`: commands on a whole account, whose work may be a job.

use std::time::Instant;

use clap::{Args as Group, ValueEnum};
use proto::command::v1::command_service_client::CommandServiceClient;
use proto::command::v1::{
    ArchiveAccountRequest, EraseAccountRequest, RestoreAccountRequest, SetAccountPrivacyRequest,
};
use serde::Serialize;

use super::job::{self, Job, WaitArgs};
use crate::client::CommandClient;
use crate::global::GlobalArgs;
use crate::ids::Id;
use crate::outcome::Outcome;
use crate::output::{self, Format};

/// An account and how to wait for its job.
#[derive(Debug, Group)]
pub struct AccountArgs {
    /// Account
    pub account: Id,
    /// Idempotency key, a UUID: a repeat with the same key returns the first answer
    #[arg(long, value_name = "UUID")]
    pub request_id: Option<String>,
    /// Whether to wait for the job.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// An account to erase.
#[derive(Debug, Group)]
pub struct EraseArgs {
    /// The account.
    #[command(flatten)]
    pub account: AccountArgs,
    /// Erase it. Without this flag, nothing is changed
    #[arg(long)]
    pub yes: bool,
}

/// An account to make private or public.
#[derive(Debug, Group)]
pub struct PrivacyArgs {
    /// Account
    pub account: Id,
    /// New state; making an account public accepts all pending requests
    #[arg(value_enum)]
    pub privacy: Privacy,
    /// Idempotency key, a UUID: a repeat with the same key returns the first answer
    #[arg(long, value_name = "UUID")]
    pub request_id: Option<String>,
    /// Whether to wait until the requests are accepted.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Whether following an account needs its consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Privacy {
    /// Follows need consent
    Private,
    /// Any account may follow
    Public,
}

#[derive(Debug, Serialize)]
struct Answer {
    command: &'static str,
    user_id: String,
    changed: bool,
    written_at: String,
    revision: Option<u64>,
    elapsed_ms: f64,
    /// `None` if no job is needed.
    job_id: Option<String>,
    /// The job at its end; `None` without waiting.
    job: Option<Job>,
}

/// State of the account after a command.
struct Words {
    /// While a job runs.
    running: &'static str,
    changed: &'static str,
    unchanged: &'static str,
}

/// Makes one call and shows its answer. The answers differ only in the names of their types.
macro_rules! run {
    ($global:expr, $wait:expr, $command:literal, $method:ident, $message:expr, $words:expr) => {{
        let mut client = $global.connection.command_client().await?;
        let message = $message;
        let user_id = message.user_id.clone();
        let started = Instant::now();
        let answer = client.call(message, CommandServiceClient::$method).await?;
        let answer = Answer {
            command: $command,
            user_id,
            changed: answer.changed,
            revision: output::revision(&answer.written_at),
            written_at: answer.written_at,
            elapsed_ms: output::elapsed_ms(started.elapsed()),
            job_id: Some(answer.job_id).filter(|id| !id.is_empty()),
            job: None,
        };
        finish(&mut client, $global.output, $wait, answer, &$words).await
    }};
}

/// Makes an account private or public.
pub async fn privacy(global: &GlobalArgs, args: &PrivacyArgs) -> anyhow::Result<Outcome> {
    let message = SetAccountPrivacyRequest {
        user_id: args.account.user().to_string(),
        private: args.privacy == Privacy::Private,
        request_id: args.request_id.clone().unwrap_or_default(),
    };
    let words = match args.privacy {
        Privacy::Private => {
            Words { running: "is private", changed: "is private", unchanged: "is already private" }
        }
        Privacy::Public => Words {
            running: "is public, and its pending requests are being accepted",
            changed: "is public",
            unchanged: "is already public",
        },
    };
    run!(global, &args.wait, "privacy", set_account_privacy, message, words)
}

/// Erases an account; without `--yes`, changes nothing.
pub async fn erase(global: &GlobalArgs, args: &EraseArgs) -> anyhow::Result<Outcome> {
    let account = args.account.account;
    if !args.yes {
        let user_id = account.user().to_string();
        let answer = serde_json::json!({ "command": "erase", "user_id": user_id, "changed": false });
        global.output.answer(&answer, || {
            format!("nothing was changed: use --yes to erase {account} and all its edges permanently")
        })?;
        return Ok(Outcome::No);
    }
    let message =
        EraseAccountRequest { user_id: args.account.user_id(), request_id: args.account.request_id() };
    let words = Words {
        running: "is being erased",
        changed: "is erased",
        unchanged: "has no data: there is nothing to erase",
    };
    run!(global, &args.account.wait, "erase", erase_account, message, words)
}

/// Hides an account.
pub async fn archive(global: &GlobalArgs, args: &AccountArgs) -> anyhow::Result<Outcome> {
    let message = ArchiveAccountRequest { user_id: args.user_id(), request_id: args.request_id() };
    let words =
        Words { running: "is being archived", changed: "is archived", unchanged: "is already archived" };
    run!(global, &args.wait, "archive", archive_account, message, words)
}

/// Restores an archived account.
pub async fn restore(global: &GlobalArgs, args: &AccountArgs) -> anyhow::Result<Outcome> {
    let message = RestoreAccountRequest { user_id: args.user_id(), request_id: args.request_id() };
    let words = Words { running: "is being restored", changed: "is restored", unchanged: "is not archived" };
    run!(global, &args.wait, "restore", restore_account, message, words)
}

impl AccountArgs {
    fn user_id(&self) -> String {
        self.account.user().to_string()
    }

    fn request_id(&self) -> String {
        self.request_id.clone().unwrap_or_default()
    }
}

/// Shows an answer, and waits for its job unless `--no-wait` is set.
async fn finish(
    client: &mut CommandClient,
    format: Format,
    wait: &WaitArgs,
    mut answer: Answer,
    words: &Words,
) -> anyhow::Result<Outcome> {
    // In text, the id of the job comes before the wait, so that the wait can be interrupted.
    if format == Format::Text {
        output::answer(answer.text(words));
    }
    answer.job = job::follow(client, format, wait, answer.job_id.as_deref()).await?;
    if format == Format::Json {
        format.answer(&answer, String::new)?;
    }
    Ok(job::outcome(answer.job.as_ref()))
}

impl Answer {
    fn text(&self, words: &Words) -> String {
        let state = match (&self.job_id, self.changed) {
            (Some(_), _) => words.running,
            (None, true) => words.changed,
            (None, false) => words.unchanged,
        };
        let job = self.job_id.as_ref().map(|id| format!("   job {id}")).unwrap_or_default();
        format!(
            "{}: {} {state}\n{}{job}",
            output::changed(self.changed),
            self.user_id,
            output::written(self.revision, self.elapsed_ms, &self.written_at),
        )
    }
}
