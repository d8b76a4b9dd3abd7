//! Methods of gRPC services as a table.

use std::pin::Pin;

use tonic::{Response, Status};

/// The future of a response, as `#[async_trait]` makes it.
pub type ResponseFuture<'a, T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send + 'a>>;

/// Methods that differ in their messages only, for an `impl` of their service's trait: a future with `self` and the
/// request, and the messages of each method.
///
/// `#[async_trait]` does not expand macros, so the signatures are those that it would make.
#[macro_export]
macro_rules! methods {
    (|$self:ident, $request:ident| $response:expr; $($method:ident($in:ty) -> $out:ty;)+) => {
        $(
            fn $method<'life0, 'async_trait>(
                &'life0 $self,
                $request: ::tonic::Request<$in>,
            ) -> $crate::methods::ResponseFuture<'async_trait, $out>
            where
                'life0: 'async_trait,
                Self: 'async_trait,
            {
                Box::pin($response)
            }
        )+
    };
}
