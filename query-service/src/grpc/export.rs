//! ExportEdges: all edges of a kind, in parts with resume tokens.
//!
//! If PostgreSQL fails or its epoch changes, the stream ends with the reason, and what the client received stays valid.
//! A part is read only when the client has taken the previous one, so a slow client holds no snapshot. The server
//! resets an export whose client takes nothing for `RESPONSE_WRITE_TIMEOUT_SECONDS`, or not all of a part within twice
//! that time; that frees its place.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use proto::error::{Reason, ServiceError};
use proto::graph::v1::EdgeKind;
use proto::query::v1::{ExportEdgesRequest, ExportEdgesResponse, ExportedEdge};
use proto::{Token, timestamp};
use service_kit::auth::Caller;
use service_kit::shares::Hold;
use tokio::time::Instant;
use tonic::Status;
use uuid::Uuid;

use super::{Queries, errors, validate};
use crate::metrics::{EXPORTED, EXPORTS_REFUSED};
use crate::page_token::{Codec, ExportToken};
use crate::postgres::{EdgeTable, ExportRow, Exporter};

/// Edges per part.
const PART: usize = 1_000;
/// Timeout of reading one range.
const RANGE_TIMEOUT: Duration = Duration::from_secs(5);
/// Retry delay when all places are taken.
const RETRY_AFTER: Duration = Duration::from_secs(5);

pub type ExportStream = Pin<Box<dyn Stream<Item = Result<ExportEdgesResponse, Status>> + Send>>;

struct Export {
    exporter: Exporter,
    codec: Arc<Codec>,
    /// Resume position.
    token: ExportToken,
    /// Held until the stream is dropped.
    _place: Hold<Option<Caller>>,
}

impl Queries {
    /// Starts or resumes an export.
    pub(super) async fn export(
        &self,
        request: &ExportEdgesRequest,
        caller: Option<Caller>,
    ) -> Result<ExportStream, ServiceError> {
        let table = table(request.kind)?;
        let field = (Reason::InvalidPageToken, "resume_token");
        let resumed = validate::optional_token(&request.resume_token, field, |text| {
            self.codec.read_export(text, table)
        })?;
        let place = self.exports.take(caller, Instant::now()).map_err(|refused| {
            metrics::counter!(EXPORTS_REFUSED, "cause" => refused.name()).increment(1);
            ServiceError::new(Reason::Overloaded, "too many exports are running; retry later")
                .retry_after(RETRY_AFTER)
        })?;
        let token = match resumed {
            Some(token) => token,
            None => {
                let from = self.exporter.head(RANGE_TIMEOUT).await.map_err(|error| errors::export(&error))?;
                ExportToken { table, after: (Uuid::nil(), Uuid::nil()), from }
            }
        };
        let export =
            Export { exporter: self.exporter.clone(), codec: Arc::clone(&self.codec), token, _place: place };
        Ok(Box::pin(futures::stream::try_unfold(Some(export), next_part)))
    }
}

/// The next part, and the export if another part follows. The first part of an export is sent even if it is empty,
/// because it contains the head.
async fn next_part(export: Option<Export>) -> Result<Option<(ExportEdgesResponse, Option<Export>)>, Status> {
    let Some(mut export) = export else {
        return Ok(None);
    };
    let ExportToken { table, after, from } = export.token;
    let range = export
        .exporter
        .range(table, after, PART, RANGE_TIMEOUT)
        .await
        .map_err(|error| errors::export(&error))?;
    if range.as_of.epoch != from.epoch {
        return Err(
            ServiceError::new(Reason::EpochChanged, "the epoch has changed; start the export again").into()
        );
    }
    if let Some(last) = range.value.last() {
        export.token.after = (last.source, last.target);
    }
    let last_part = range.value.len() < PART;
    metrics::counter!(EXPORTED).increment(u64::try_from(range.value.len()).unwrap_or(0));
    let response = part(&range.value, from, export.codec.export(&export.token));
    Ok(Some((response, (!last_part).then_some(export))))
}

fn part(rows: &[ExportRow], from: Token, resume_token: String) -> ExportEdgesResponse {
    ExportEdgesResponse {
        edges: rows.iter().map(edge).collect(),
        from_revision: from.revision.0,
        resume_token,
        epoch: from.epoch.0,
    }
}

fn edge(row: &ExportRow) -> ExportedEdge {
    ExportedEdge {
        source_id: row.source.to_string(),
        target_id: row.target.to_string(),
        created_at: Some(timestamp::to_proto(row.created_at)),
        expires_at: row.expires_at.map(timestamp::to_proto),
        position: row.position.0,
    }
}

fn table(kind: i32) -> Result<EdgeTable, ServiceError> {
    match EdgeKind::try_from(kind) {
        Ok(EdgeKind::Unspecified | EdgeKind::Follow) => Ok(EdgeTable::Follows),
        Ok(EdgeKind::Mute) => Ok(EdgeTable::Mutes),
        Ok(EdgeKind::Block) => Ok(EdgeTable::Blocks),
        Ok(EdgeKind::FollowRequest) => Ok(EdgeTable::FollowRequests),
        Err(_) => Err(ServiceError::field(Reason::UnknownEnumValue, "kind", "is not a kind of edge")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_table_and_no_other_number() {
        for (kind, wanted) in [
            (0, EdgeTable::Follows),
            (1, EdgeTable::Follows),
            (2, EdgeTable::Mutes),
            (3, EdgeTable::Blocks),
            (4, EdgeTable::FollowRequests),
        ] {
            assert_eq!(table(kind), Ok(wanted));
        }
        for kind in [-1, 5] {
            let error = table(kind).expect_err("no kind");
            assert_eq!((error.reason, error.field.as_deref()), (Reason::UnknownEnumValue, Some("kind")));
        }
    }
}
