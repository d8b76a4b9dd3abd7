//! What operators see: the metrics that processes export are those of the page and those that alerts and panels ask
//! for; each alert fires when the real thing breaks; a trace leads from a call to the read model.

mod alerts;
mod exported;
mod faults;
mod traces;
