//! The state behind the query service's methods.

use std::sync::Arc;

use proto::error::ServiceError;
use service_kit::auth::Caller;
use service_kit::shares::Places;

use super::call::ReadCall;
use super::watch::Watches;
use super::{PipelineStatus, errors};
use crate::memory::FromMemory;
use crate::page_token::Codec;
use crate::postgres::{Exporter, PostgresReader};
use crate::queries::{Answer, Read};
use crate::router::{ReadModelReader, StoreRouter};

#[derive(Debug)]
pub struct Queries {
    pub router: Arc<StoreRouter>,
    /// Reads the edges of exports.
    pub exporter: Exporter,
    /// Places of exports.
    pub exports: Places<Option<Caller>>,
    /// Signs page and resume tokens.
    pub codec: Arc<Codec>,
    /// Source of GetStatus.
    pub pipeline: PipelineStatus,
    pub watches: Watches,
}

impl Queries {
    /// Routes a question to a store.
    pub(super) async fn ask<Q: FromMemory>(
        &self,
        question: &Q,
        call: &ReadCall,
    ) -> Result<Answer<Q::Answer>, ServiceError>
    where
        ReadModelReader: Read<Q>,
        PostgresReader: Read<Q>,
    {
        let answer = self.router.answer(question, &call.read).await;
        answer.map_err(|refusal| errors::refusal(refusal, call.token_field))
    }
}
