//! `privacy`, `erase`, `archive` and `restore`: what happens to an account as a whole.
//!
//! Owns the calls, and the answer of a command whose work is a job. It must not know
//! how jobs are followed, [`job`] does.

use std::time::Instant;

use proto::command::v1::{
    ArchiveAccountRequest, EraseAccountRequest, RestoreAccountRequest, SetAccountPrivacyRequest,
};
use serde::Serialize;

use super::job::{self, Job};
use crate::args::{AccountArgs, ConnectionArgs, EraseArgs, Format, Privacy, PrivacyArgs, WaitArgs};
use crate::client::{self, CommandClient};
use crate::commands::Outcome;
use crate::ids::Id;
use crate::output;

/// The answer for programs.
#[derive(Debug, Serialize)]
struct Answer {
    command: &'static str,
    user_id: String,
    changed: bool,
    written_at: String,
    revision: Option<u64>,
    elapsed_ms: f64,
    /// Absent where there is nothing to do.
    job_id: Option<String>,
    /// The job at its end; absent where nobody waited.
    job: Option<Job>,
}

/// What an account is when a command has changed it, and when it had done so before.
struct Words {
    under_way: &'static str,
    changed: &'static str,
    unchanged: &'static str,
}

/// Calls a method; the answers differ in the names of their types only.
macro_rules! call {
    ($client:expr, $method:ident, $command:expr, $account:expr, $message:expr) => {{
        let request = $client.request($message);
        let started = Instant::now();
        let answer = $client.rpc.$method(request).await;
        let elapsed = started.elapsed();
        let answer = answer.map_err(|s| $client.failed(s))?.into_inner();
        Answer {
            command: $command,
            user_id: $account.user().to_string(),
            changed: answer.changed,
            revision: output::revision(&answer.written_at),
            written_at: answer.written_at,
            elapsed_ms: output::elapsed_ms(elapsed),
            job_id: Some(answer.job_id).filter(|id| !id.is_empty()),
            job: None,
        }
    }};
}

/// Makes an account private or public.
pub async fn privacy(
    connection: &ConnectionArgs,
    format: Format,
    args: &PrivacyArgs,
) -> anyhow::Result<Outcome> {
    let mut client = client::command(connection).await?;
    let message = SetAccountPrivacyRequest {
        user_id: args.account.user().to_string(),
        private: args.privacy == Privacy::Private,
        request_id: args.request_id.clone().unwrap_or_default(),
    };
    let answer = call!(client, set_account_privacy, "privacy", args.account, message);
    let words = match args.privacy {
        Privacy::Private => {
            Words { under_way: "is private", changed: "is private", unchanged: "is private already" }
        }
        Privacy::Public => Words {
            under_way: "is public, and its pending requests are being accepted",
            changed: "is public",
            unchanged: "is public already",
        },
    };
    finish(&mut client, format, &args.wait, answer, &words).await
}

/// Erases an account, if the caller means it.
pub async fn erase(connection: &ConnectionArgs, format: Format, args: &EraseArgs) -> anyhow::Result<Outcome> {
    let AccountArgs { account, request_id, wait } = &args.account;
    if !args.yes {
        refuse(format, *account)?;
        return Ok(Outcome::No);
    }
    let mut client = client::command(connection).await?;
    let message = EraseAccountRequest {
        user_id: account.user().to_string(),
        request_id: request_id.clone().unwrap_or_default(),
    };
    let answer = call!(client, erase_account, "erase", account, message);
    let words = Words {
        under_way: "is being erased",
        changed: "is erased",
        unchanged: "is not known: there is nothing to erase",
    };
    finish(&mut client, format, wait, answer, &words).await
}

/// Hides an account.
pub async fn archive(
    connection: &ConnectionArgs,
    format: Format,
    args: &AccountArgs,
) -> anyhow::Result<Outcome> {
    let mut client = client::command(connection).await?;
    let message = ArchiveAccountRequest {
        user_id: args.account.user().to_string(),
        request_id: args.request_id.clone().unwrap_or_default(),
    };
    let answer = call!(client, archive_account, "archive", args.account, message);
    let words =
        Words { under_way: "is being archived", changed: "is archived", unchanged: "is archived already" };
    finish(&mut client, format, &args.wait, answer, &words).await
}

/// Brings an account back.
pub async fn restore(
    connection: &ConnectionArgs,
    format: Format,
    args: &AccountArgs,
) -> anyhow::Result<Outcome> {
    let mut client = client::command(connection).await?;
    let message = RestoreAccountRequest {
        user_id: args.account.user().to_string(),
        request_id: args.request_id.clone().unwrap_or_default(),
    };
    let answer = call!(client, restore_account, "restore", args.account, message);
    let words =
        Words { under_way: "is being restored", changed: "is restored", unchanged: "is not archived" };
    finish(&mut client, format, &args.wait, answer, &words).await
}

/// Says that nothing was done, because it cannot be undone.
fn refuse(format: Format, account: Id) -> anyhow::Result<()> {
    match format {
        Format::Json => output::json_answer(&serde_json::json!({
            "command": "erase",
            "user_id": account.user().to_string(),
            "changed": false,
        })),
        Format::Text => {
            output::answer(format!(
                "nothing was changed: say --yes to erase all that is known of {account}, for good"
            ));
            Ok(())
        }
    }
}

/// Shows an answer, and follows its job to the end unless nobody wants to wait.
async fn finish(
    client: &mut CommandClient,
    format: Format,
    wait: &WaitArgs,
    mut answer: Answer,
    words: &Words,
) -> anyhow::Result<Outcome> {
    // People see the id of the job before they wait for it, and may leave.
    if format == Format::Text {
        output::answer(answer.text(words));
    }
    answer.job = job::follow(client, format, wait, answer.job_id.as_deref()).await?;
    if format == Format::Json {
        output::json_answer(&answer)?;
    }
    Ok(job::outcome(answer.job.as_ref()))
}

impl Answer {
    fn text(&self, words: &Words) -> String {
        let state = match (&self.job_id, self.changed) {
            (Some(_), _) => words.under_way,
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
