//! Common steps of the older API's reads.

use std::sync::Arc;
use std::time::Duration;

use proto::error::ServiceError;
use tonic::Request;

use super::super::call::Begun;
use super::super::{errors, validate};
use super::fresh::StreamEnd;
use crate::memory::FromMemory;
use crate::metrics::LEGACY_OLDER;
use crate::postgres::PostgresReader;
use crate::queries::{Answer, Read, Relation, Relations};
use crate::recent::{Recent, Sources};
use crate::router::{Call, Fallback, Need, QueryTrace, ReadModelReader, Refusal, StoreRouter};

/// Settings of this API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegacySettings {
    /// Default limit of lists.
    pub default_limit: usize,
    /// Timeout of the wait for the stream.
    pub freshness_wait: Duration,
}

#[derive(Debug)]
pub struct Legacy {
    router: Arc<StoreRouter>,
    stream_end: StreamEnd,
    pub(super) default_limit: usize,
}

impl Legacy {
    pub fn new(
        router: Arc<StoreRouter>,
        sources: Sources,
        recent: Arc<Recent>,
        settings: LegacySettings,
    ) -> Self {
        let stream_end = StreamEnd::new(sources, recent, settings.freshness_wait);
        Self { router, stream_end, default_limit: settings.default_limit }
    }

    /// Starts a call with a valid request: waits until this process has read the stream.
    pub(super) async fn begin<T>(&self, request: &Request<T>) -> Call {
        let Begun { deadline, caller, parent } = Begun::of(request);
        let at_least = self.stream_end.reached(deadline).await;
        let need = Need { at_least, caller, ..Need::default() };
        Call { need, deadline, trace: QueryTrace::new(true).below(parent) }
    }

    pub(super) async fn ask<Q: FromMemory>(
        &self,
        question: &Q,
        mut call: Call,
    ) -> Result<Answer<Q::Answer>, ServiceError>
    where
        ReadModelReader: Read<Q>,
        PostgresReader: Read<Q>,
    {
        let mut answer = self.router.attempt(question, &call).await;
        // Without the requirement, only reads that failed for lack of freshness can succeed.
        if answer.as_ref().is_err_and(|refusal| too_fresh(*refusal, &call.trace)) {
            call.need.at_least = None;
            answer = self.router.attempt(question, &call).await;
            if answer.is_ok() {
                metrics::counter!(LEGACY_OLDER).increment(1);
            }
        }
        self.router.count(question, &answer);
        // The caller sent no token that could be wrong.
        answer.map_err(|refusal| errors::refusal(refusal, ""))
    }

    /// The links from the first account to the second, each with its field.
    pub(super) async fn relation<T>(
        &self,
        request: &Request<T>,
        pair: [(&str, &str); 2],
    ) -> Result<Relation, ServiceError> {
        let [viewer, other] = pair.map(|(field, id)| validate::user(id, field));
        let asked = Relations { viewer: viewer?, targets: vec![other?] };
        let answer = self.ask(&asked, self.begin(request).await).await?;
        Ok(answer.value.first().copied().unwrap_or_default())
    }
}

/// True if the read failed only because of the required revision.
fn too_fresh(refusal: Refusal, trace: &QueryTrace) -> bool {
    let fell_back = || trace.record().and_then(|record| record.fallback);
    match refusal {
        Refusal::EpochChanged | Refusal::TokenAhead | Refusal::Behind { .. } => true,
        Refusal::DeadlineExceeded | Refusal::RuledOut { .. } | Refusal::Busy { .. } => false,
        Refusal::BudgetExhausted { .. } | Refusal::Unavailable { .. } => fell_back()
            .is_some_and(|reason| [Fallback::Behind, Fallback::Epoch].map(Fallback::name).contains(&reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::Limit;

    #[test]
    fn only_want_of_freshness_makes_a_read_repeat() {
        let after = Duration::from_millis(1);
        let exhausted = Refusal::BudgetExhausted { limit: Limit::Rate, retry_after: after };
        for (refusal, fell_back, again) in [
            (exhausted, Fallback::Behind, true),
            (exhausted, Fallback::Down, false),
            (exhausted, Fallback::Slow, false),
            (Refusal::Unavailable { retry_after: after }, Fallback::Failed, false),
            (Refusal::Unavailable { retry_after: after }, Fallback::Epoch, true),
            (Refusal::TokenAhead, Fallback::Behind, true),
            (Refusal::Busy { share: false, retry_after: after }, Fallback::Behind, false),
        ] {
            let trace = QueryTrace::new(true);
            trace.fell_back(fell_back.name());
            assert_eq!(too_fresh(refusal, &trace), again, "{refusal:?} after {fell_back:?}");
        }
    }
}
