//! The constants of a process.

use crate::catalog::Metric;

/// Constants of a process.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// Name in logs and traces.
    pub name: &'static str,
    /// Version, as `--version` prints it.
    pub version: &'static str,
    /// Default of `ADMIN_LISTEN`.
    pub admin_listen: &'static str,
    /// Metrics in addition to those of every service.
    pub metrics: &'static [Metric],
}
