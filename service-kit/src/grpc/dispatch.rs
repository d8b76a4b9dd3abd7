//! One instance of a generated service for each message limit among its methods.
//!
//! The generated service decompresses and decodes, with one limit per instance. So each method's calls go to the
//! instance with its limit.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use super::rules::MethodRule;

/// A service whose calls go to the instance with the limit of their method.
#[derive(Debug, Clone)]
pub(super) struct ByLimit<S> {
    instances: Vec<S>,
    /// Index of the instance, by the name of the method.
    by_method: HashMap<&'static str, usize>,
}

impl<S> ByLimit<S> {
    /// Creates an instance for each limit in the rows, up to `most`.
    pub(super) fn new(rows: &'static [MethodRule], most: usize, make: impl Fn(usize) -> S) -> Self {
        let limit = |row: &MethodRule| row.max_message.min(most);
        let mut places: BTreeMap<_, _> = rows.iter().map(|row| (limit(row), 0)).collect();
        places.values_mut().zip(0..).for_each(|(place, next)| *place = next);
        let by_method = rows.iter().filter_map(|row| Some((row.method, *places.get(&limit(row))?))).collect();
        let instances =
            if places.is_empty() { vec![make(0)] } else { places.into_keys().map(make).collect() };
        Self { instances, by_method }
    }
}

impl<S: NamedService> NamedService for ByLimit<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for ByLimit<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Generated services are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> S::Future {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default();
        // Any instance answers that it has no such method.
        let place = self.by_method.get(method).copied().unwrap_or(0);
        self.instances[place].call(request)
    }
}
