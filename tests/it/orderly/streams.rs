//! An import, an export and a watch that are open while their service stops.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt as _;
use parking_lot::Mutex;
use proto::command::v1::{ImportEdge, ImportEdgesRequest};
use proto::query::v1::{ExportEdgesRequest, WatchEventsRequest};
use proto::{Revision, Token};
use tests::{Commands, Queries, new_user};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::{Over, is_away};

const PAUSE: Duration = Duration::from_millis(10);
const CHUNK: usize = 20;

/// Follower and followed account of every edge whose chunk was answered.
pub type Imported = Arc<Mutex<BTreeSet<(String, String)>>>;

/// Imports chunk by chunk, repeating each until it is answered.
pub async fn import_until(mut commands: Commands, over: Over, imported: Imported) {
    let mut number = 0;
    let mut chunk = new_chunk();
    loop {
        let (sender, requests) = mpsc::channel(1);
        sender.send(request(number, &chunk)).await.expect("there is room for one");
        let mut answers = match commands.import_edges(ReceiverStream::new(requests)).await {
            Ok(answers) => answers.into_inner(),
            Err(status) => {
                assert!(is_away(&status), "{status:?}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        loop {
            match answers.message().await {
                Ok(Some(answer)) => {
                    assert_eq!((answer.chunk, answer.refused.len()), (number, 0), "{answer:?}");
                    imported.lock().append(&mut chunk);
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    (number, chunk) = (number + 1, new_chunk());
                }
                Ok(None) => panic!("an import succeeded with an unanswered chunk"),
                Err(status) => {
                    assert!(is_away(&status), "{status:?}");
                    break;
                }
            }
            if sender.send(request(number, &chunk)).await.is_err() {
                break;
            }
        }
    }
}

fn new_chunk() -> BTreeSet<(String, String)> {
    let source = new_user();
    (0..CHUNK).map(|_| (source.clone(), new_user())).collect()
}

fn request(chunk: u64, edges: &BTreeSet<(String, String)>) -> ImportEdgesRequest {
    let edges = edges.iter().map(|(source, target)| ImportEdge {
        source_id: source.clone(),
        target_id: target.clone(),
        ..ImportEdge::default()
    });
    ImportEdgesRequest { chunk, edges: edges.collect(), ..ImportEdgesRequest::default() }
}

/// Exports repeatedly, resuming each export until it ends; returns the number of exports.
pub async fn export_until(mut queries: Queries, over: Over, imported: Imported) -> usize {
    let mut exports = 0;
    while !over.load(Ordering::SeqCst) {
        let wanted = imported.lock().clone();
        let mut found = BTreeSet::new();
        let mut resume_token = String::new();
        'parts: loop {
            let request =
                ExportEdgesRequest { resume_token: resume_token.clone(), ..ExportEdgesRequest::default() };
            let begun = queries.export_edges(request).await;
            let Ok(mut parts) = begun.map(tonic::Response::into_inner).inspect_err(|status| {
                assert!(is_away(status), "{status:?}");
            }) else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            while let Some(part) = parts.next().await {
                match part {
                    Ok(part) => {
                        resume_token = part.resume_token;
                        for edge in part.edges {
                            let pair = (edge.source_id, edge.target_id);
                            assert!(found.insert(pair.clone()), "{pair:?} comes twice");
                        }
                    }
                    Err(status) => {
                        assert!(is_away(&status), "{status:?}");
                        continue 'parts;
                    }
                }
            }
            break;
        }
        let missing = wanted.difference(&found).count();
        assert_eq!(missing, 0, "edges that were acknowledged before a successful export");
        exports += 1;
    }
    exports
}

/// Watches, resumes after each interruption, and ends at a revision; returns the revisions of all events.
pub async fn watch_until(
    mut queries: Queries,
    begin: Token,
    end: watch::Receiver<Option<Revision>>,
) -> Vec<Revision> {
    let mut at = begin;
    let mut seen = Vec::new();
    loop {
        let request = WatchEventsRequest { after: at.to_string(), ..WatchEventsRequest::default() };
        let mut messages = match queries.watch_events(request).await {
            Ok(messages) => messages.into_inner(),
            Err(status) => {
                assert!(is_away(&status), "{status:?}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        loop {
            if end.borrow().is_some_and(|end| at.revision >= end) {
                return seen;
            }
            match messages.message().await {
                Ok(message) => {
                    let message = message.expect("a watch ends with a status only");
                    at = Token::parse(&message.resume_token).expect("a token");
                    if message.event.is_some() {
                        seen.push(at.revision);
                    }
                }
                Err(status) => {
                    assert!(is_away(&status), "{status:?}");
                    break;
                }
            }
        }
    }
}
