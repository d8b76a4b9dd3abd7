//! Where an import starts: from the beginning, or after an earlier run.

use std::io;
use std::path::Path;

use anyhow::Context as _;
use proto::Token;
use proto::graph::v1::EdgeKind;

use super::header;
use super::paths::absolute;
use super::progress::{self, Done, Found};
use super::refused::RefusedFile;
use crate::client::CommandClient;
use crate::error::Hinted;
use crate::output;

/// The progress of an earlier run of the same import into the same history; none with `restart`.
pub async fn resume(
    file: &progress::File,
    refused: &Path,
    restart: bool,
    client: &mut CommandClient,
) -> anyhow::Result<Done> {
    let path = file.path().display();
    // Also with `restart`: never replace a foreign file.
    let found = file.load().with_context(|| format!("cannot read {path}"))?;
    let start_over = match found {
        _ if restart => None,
        Found::Nothing => None,
        Found::Resume(done) if done.chunks == 0 => None,
        Found::Foreign => {
            Some(format!("{path} belongs to another file, service, version, or other arguments"))
        }
        Found::Resume(done) if !done.continues_in(&absolute(refused)) => {
            Some(format!("the refused rows of {path} are in {}", done.refused_file))
        }
        Found::Resume(done) if !is_known(&done, client).await? => {
            Some(format!("{path} contains writes that this service does not know"))
        }
        Found::Resume(done) => {
            output::note(format!("resuming after row {}, according to {path}", done.lines));
            return Ok(*done);
        }
    };
    if let Some(why) = start_over {
        output::note(format!("{why}: starting over"));
    }
    Ok(start(client).await)
}

/// The progress before the first chunk. A service that is down is not an error: the import waits for it.
pub async fn start(client: &mut CommandClient) -> Done {
    let database_id = client.status().await.map(|status| status.database_id).unwrap_or_default();
    Done { database_id, ..Done::default() }
}

/// Whether this database has these writes: it is the same one, and its history contains the token. A database that was
/// restored in between has another epoch or an older head.
async fn is_known(done: &Done, client: &mut CommandClient) -> anyhow::Result<bool> {
    let Ok(token) = Token::parse(&done.written_at) else {
        // So far, rows were only refused.
        return Ok(done.written_at.is_empty());
    };
    let status = client.status().await?;
    let head = status.head.unwrap_or_default();
    // Older versions have no id.
    let unknown = done.database_id.is_empty() || status.database_id.is_empty();
    let same = unknown || status.database_id == done.database_id;
    Ok(same && head.epoch == token.epoch.0 && head.revision >= token.revision.0)
}

pub fn open_refused(path: &Path, done: &Done, kind: EdgeKind) -> anyhow::Result<RefusedFile> {
    RefusedFile::open(path.to_owned(), done.refused_bytes, header::may_expire(kind))
        .map_err(|source| cannot_write(path, source))
}

/// The error of a file next to the input.
pub fn cannot_write(path: &Path, source: io::Error) -> anyhow::Error {
    let hint = "--state-dir FOLDER sets another folder for progress and refused rows, --refused FILE another file for \
                refused rows";
    Hinted::new(format!("cannot write {}", path.display()), hint).caused_by(source).into()
}
