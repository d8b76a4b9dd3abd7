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
pub fn elsewhere(request: &str, kind: &str, service: &str) -> Status {
    let method = request.trim_end_matches("Request");
    let message = format!("{method} is a {kind}, and {kind}s are served by {service}");
    ServiceError::new(Reason::WrongService, message).with("service", service).into()
}

/// Methods of the older API that another service serves, for an `impl` of its trait.
#[macro_export]
macro_rules! served_elsewhere {
    ($kind:literal, $service:literal; $($method:ident($request:ident) -> $response:ident;)+) => {
        $(
            $crate::methods! {
                |self, _request| ::core::future::ready(Err(
                    $crate::legacy::elsewhere(stringify!($request), $kind, $service)
                ));
                $method($crate::legacy::v2::$request) -> $crate::legacy::v2::$response;
            }
        )+
    };
}
