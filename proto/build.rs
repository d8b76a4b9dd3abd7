//! Compiles the .proto files with protox, so that the build needs no protoc.

use std::path::PathBuf;

use prost::Message as _;

#[cfg(feature = "next-version")]
mod next_version;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "followgraph/graph/v1/edge_kind.proto",
        "followgraph/graph/v1/relationship.proto",
        "followgraph/graph/v1/error_reason.proto",
        "followgraph/graph/v1/status.proto",
        "followgraph/event/v1/event.proto",
        "followgraph/event/v1/signal.proto",
        "followgraph/command/v1/command_service.proto",
        "followgraph/query/v1/query_service.proto",
        "nova/graph_service/v2/graph_service.proto",
    ];
    println!("cargo:rerun-if-changed=followgraph");
    println!("cargo:rerun-if-changed=nova");
    #[cfg_attr(not(feature = "next-version"), expect(unused_mut, reason = "the next version adds to it"))]
    let mut descriptors = protox::compile(files, ["."])?;
    #[cfg(feature = "next-version")]
    next_version::add_to(&mut descriptors);
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // Served by the reflection service of both servers.
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
