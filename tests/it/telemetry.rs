//! Telemetry for operators: exported metrics agree with their page, alerts and panels; each alert fires at a real
//! fault; a trace leads from a call to the read model.

mod alerts;
mod exported;
mod faults;
mod traces;
