//! `privacy`, `erase`, `archive` and `restore`: commands on a whole account, whose work may be a job.

use std::time::Instant;

use clap::ValueEnum;
use proto::command::v1::{
    ArchiveAccountRequest, EraseAccountRequest, RestoreAccountRequest, SetAccountPrivacyRequest,
};
use serde::Serialize;

use super::job;
use super::written::Written;
use crate::client::CommandRpc;
use crate::global::{GlobalArgs, Outcome};
use crate::ids::Id;
use crate::output;

/// An account and how to wait for its job.
#[derive(Debug, clap::Args)]
pub struct AccountArgs {
    /// Account
    pub account: Id,
    /// Idempotency key, a UUID: a repeat with the same key returns the first answer
    #[arg(long, value_name = "UUID")]
    pub request_id: Option<String>,
    /// Return without waiting for the job; `job` shows its progress
    #[arg(long)]
    pub no_wait: bool,
}

/// An account to erase.
#[derive(Debug, clap::Args)]
pub struct EraseArgs {
    /// The account.
    #[command(flatten)]
    pub account: AccountArgs,
    /// Erase it. Without this flag, nothing is changed
    #[arg(long)]
    pub yes: bool,
}

/// An account to make private or public.
#[derive(Debug, clap::Args)]
pub struct PrivacyArgs {
    /// The account.
    #[command(flatten)]
    pub account: AccountArgs,
    /// New state; making an account public accepts all pending requests
    #[arg(value_enum)]
    pub privacy: Privacy,
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
    #[serde(flatten)]
    written: Written,
}

/// State of the account after a command: while its job runs, after a change, and without a change.
struct Words(&'static str, &'static str, &'static str);

/// Makes one call and shows its answer. The answers differ only in the names of their types.
macro_rules! run {
    ($global:expr, $no_wait:expr, $command:literal, $method:ident, $message:expr, $words:expr) => {{
        let mut client = $global.connection.command_client().await?;
        let message = $message;
        let user_id = message.user_id.clone();
        let started = Instant::now();
        let answer = client.call(message, CommandRpc::$method).await?;
        let job_id = Some(answer.job_id).filter(|id| !id.is_empty());
        let written = Written::new(&answer.written_at, started.elapsed());
        let answer = Answer { command: $command, user_id, changed: answer.changed, written };
        let text = answer.text(job_id.is_some(), &$words);
        job::finish(&mut client, $global.output, $no_wait, answer, &text, job_id).await
    }};
}

pub async fn privacy(global: &GlobalArgs, args: &PrivacyArgs) -> anyhow::Result<Outcome> {
    let message = SetAccountPrivacyRequest {
        user_id: args.account.user_id(),
        private: args.privacy == Privacy::Private,
        request_id: args.account.request_id(),
    };
    let words = match args.privacy {
        Privacy::Private => Words("is private", "is private", "is already private"),
        Privacy::Public => {
            Words("is public, and its pending requests are being accepted", "is public", "is already public")
        }
    };
    run!(global, args.account.no_wait, "privacy", set_account_privacy, message, words)
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
    let words = Words("is being erased", "is erased", "has no data: there is nothing to erase");
    run!(global, args.account.no_wait, "erase", erase_account, message, words)
}

pub async fn archive(global: &GlobalArgs, args: &AccountArgs) -> anyhow::Result<Outcome> {
    let message = ArchiveAccountRequest { user_id: args.user_id(), request_id: args.request_id() };
    let words = Words("is being archived", "is archived", "is already archived");
    run!(global, args.no_wait, "archive", archive_account, message, words)
}

pub async fn restore(global: &GlobalArgs, args: &AccountArgs) -> anyhow::Result<Outcome> {
    let message = RestoreAccountRequest { user_id: args.user_id(), request_id: args.request_id() };
    let words = Words("is being restored", "is restored", "is not archived");
    run!(global, args.no_wait, "restore", restore_account, message, words)
}

impl AccountArgs {
    fn user_id(&self) -> String {
        self.account.user().to_string()
    }

    fn request_id(&self) -> String {
        self.request_id.clone().unwrap_or_default()
    }
}

impl Answer {
    fn text(&self, has_job: bool, words: &Words) -> String {
        let Words(running, changed, unchanged) = words;
        let state = match (has_job, self.changed) {
            (true, _) => running,
            (false, true) => changed,
            (false, false) => unchanged,
        };
        format!("{}: {} {state}\n{}", output::changed(self.changed), self.user_id, self.written.text())
    }
}
