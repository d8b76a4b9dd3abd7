#!/bin/sh
# In place of `cargo build --release` in the Dockerfile.
set -eu
mkdir -p target/release
cp /finished/* target/release/
