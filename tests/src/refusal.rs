//! Errors in the form that programs read (I9).

use proto::error::{Reason, code, reason_of};
use tonic::Status;
use tonic_types::StatusExt as _;

/// Checks that the error has this reason, the code of that reason, and this field.
///
/// # Panics
/// If it does not.
#[track_caller]
pub fn assert_refused(status: &Status, reason: Reason, field: Option<&str>) {
    assert_eq!(reason_of(status), Some(reason), "{status:?}");
    assert_eq!(status.code(), code(reason), "{status:?}");
    if let Some(field) = field {
        assert_eq!(self::field(status).as_deref(), Some(field), "{status:?}");
    }
}

/// The field at fault.
pub fn field(status: &Status) -> Option<String> {
    let details = status.get_details_bad_request()?;
    details.field_violations.first().map(|violation| violation.field.clone())
}

/// A value of ErrorInfo.metadata.
pub fn metadata(status: &Status, name: &str) -> Option<String> {
    status.get_details_error_info()?.metadata.get(name).cloned()
}
