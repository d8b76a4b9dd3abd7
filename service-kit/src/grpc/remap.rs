//! Errors that the gRPC library words differently from our contract. A message that does not decode comes out of tonic
//! as INTERNAL, one above the limit as OUT_OF_RANGE; both are the caller's fault and get a code and a reason that say
//! so.
//!
//! The library's errors have no details. All errors of our handlers have, so they pass unchanged. A new version of
//! tonic or prost may change its texts: the tests of this crate send such messages to a real server.

use http::HeaderMap;
use tonic::{Code, Status};

use crate::errors;

/// The header in which details travel.
const DETAILS: &str = "grpc-status-details-bin";

/// Rewrites a status of the library in headers or trailers, and returns the resulting code; `None` if there is no
/// status.
pub(super) fn remap(headers: &mut HeaderMap) -> Option<Code> {
    let status = Status::from_header_map(headers)?;
    if headers.contains_key(DETAILS) {
        return Some(status.code());
    }
    // If the better text does not fit into a header, the library's status remains.
    let better = better(&status).filter(|better| better.add_header(headers).is_ok());
    Some(better.unwrap_or(status).code())
}

fn better(status: &Status) -> Option<Status> {
    let message = status.message();
    let starts_with_any = |starts: &[&str]| starts.iter().any(|start| message.starts_with(start));
    match status.code() {
        Code::Internal
            if starts_with_any(&[
                "failed to decode Protobuf message",
                "Missing request message",
                "Unexpected EOF decoding stream",
                "protocol error: received message with",
                "Error decompressing",
            ]) =>
        {
            Some(errors::status(Code::InvalidArgument, errors::MALFORMED_MESSAGE, message))
        }
        Code::OutOfRange if starts_with_any(&["Error, decoded message length too large"]) => {
            Some(too_large())
        }
        Code::ResourceExhausted if starts_with_any(&["Error decompressing: size limit"]) => Some(too_large()),
        Code::Unimplemented if starts_with_any(&["Content is compressed with"]) => Some(errors::status(
            Code::Unimplemented,
            errors::UNSUPPORTED_ENCODING,
            "this server reads requests that are compressed with gzip or not at all",
        )),
        Code::Unimplemented if message.is_empty() => {
            Some(Status::unimplemented("no such method on this server"))
        }
        _ => None,
    }
}

fn too_large() -> Status {
    errors::status(
        Code::ResourceExhausted,
        errors::MESSAGE_TOO_LARGE,
        "the request message is larger than this server takes",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(status: &Status) -> (Option<Code>, Status) {
        let mut headers = HeaderMap::new();
        status.add_header(&mut headers).expect("plain text");
        let code = remap(&mut headers);
        (code, Status::from_header_map(&headers).expect("a status"))
    }

    #[test]
    fn what_a_handler_said_itself_passes_untouched() {
        let with_details =
            errors::status(Code::Internal, errors::INTERNAL, "failed to decode Protobuf message: of our own");
        for status in [
            with_details,
            Status::internal("the disk is on fire"),
            Status::out_of_range("no page that far"),
            Status::resource_exhausted("later"),
            Status::unimplemented("ask the other service"),
        ] {
            let (code, after) = through(&status);
            assert_eq!(code, Some(status.code()));
            assert_eq!((after.code(), after.message()), (status.code(), status.message()));
        }
    }

    #[test]
    fn headers_without_a_status_are_left_alone() {
        let mut headers = HeaderMap::new();
        assert_eq!(remap(&mut headers), None);
        assert!(headers.is_empty());
    }
}
