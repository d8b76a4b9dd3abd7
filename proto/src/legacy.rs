//! The older system's API, as its clients know it (`nova.graph_service.v2`).
//!
//! Two services share its methods. Each refuses those of the other one, and names it.

use tonic::Status;

use crate::error::{Reason, ServiceError};

/// Version 2.
pub mod v2 {
    tonic::include_proto!("nova.graph_service.v2");
}

/// The refusal of a method that `service` serves; `kind` is what the method is, `read` or `write`.
pub fn elsewhere(method: &str, kind: &str, service: &str) -> Status {
    let message = format!("{method} is a {kind}, and {kind}s are served by {service}");
    ServiceError::new(Reason::WrongService, message).with("service", service).into()
}

/// Methods of the older API that another service serves, for an `impl` of its trait. `#[async_trait]` does not expand
/// macros, so the signatures are those that it would make.
#[macro_export]
macro_rules! served_elsewhere {
    ($kind:literal, $service:literal; $($method:ident($request:ident) -> $response:ident;)+) => {
        $(
            fn $method<'life0, 'async_trait>(
                &'life0 self,
                _: ::tonic::Request<$crate::legacy::v2::$request>,
            ) -> ::core::pin::Pin<
                Box<
                    dyn ::core::future::Future<
                            Output = Result<::tonic::Response<$crate::legacy::v2::$response>, ::tonic::Status>,
                        > + Send
                        + 'async_trait,
                >,
            >
            where
                'life0: 'async_trait,
                Self: 'async_trait,
            {
                let method = stringify!($request).trim_end_matches("Request");
                Box::pin(::core::future::ready(Err($crate::legacy::elsewhere(method, $kind, $service))))
            }
        )+
    };
}
