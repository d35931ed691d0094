//! Compiles the protos without a `protoc` binary, and keeps the descriptor set
//! for server reflection.

use std::path::PathBuf;
use std::{env, fs};

const PROTOS: [&str; 6] = [
    "pinnersage/v1/actions.proto",
    "pinnersage/v1/admin.proto",
    "pinnersage/v1/attributes.proto",
    "pinnersage/v1/catalog.proto",
    "pinnersage/v1/recommendation.proto",
    "pinnersage/v1/reranking.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // prost-build does not print this, and without it every change of any file
    // would compile the protos again.
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-env-changed=PINNERSAGE_GIT_SHA");

    // The name of this build, in the metadata of answers and in logs.
    let (version, sha) = (
        env::var("CARGO_PKG_VERSION")?,
        env::var("PINNERSAGE_GIT_SHA"),
    );
    let build = sha.map_or(version.clone(), |sha| format!("{version}+{sha}"));
    println!("cargo:rustc-env=PINNERSAGE_BUILD={build}");

    let out = PathBuf::from(env::var("OUT_DIR")?);
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let mut encoded = Vec::new();
    prost::Message::encode(&descriptors, &mut encoded)?;
    fs::write(out.join("pinnersage.v1.bin"), encoded)?;
    tonic_prost_build::configure()
        // A request that does not decode is the caller's fault; see the codec.
        .codec_path("crate::wire::Codec")
        // The outcome of a request in a batch; tonic-types knows its details.
        .extern_path(".google.rpc.Status", "::tonic_types::pb::Status")
        .compile_fds(descriptors)?;
    Ok(())
}
