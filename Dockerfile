# The programs of followgraph, one image each: docker build --target command-service .
# Targets: command-service, query-service, projector, cli.
#
# Both base images are named by digest, so that builds are reproducible; distroless publishes no version tags.
# docs/kubernetes.md says how to update them.
ARG BUILDER=rust:1.95-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1
ARG RUNTIME=gcr.io/distroless/cc-debian12:nonroot@sha256:66aa873a4a14fb164aa01296058efd8253744606d72715e45acface073359faa

FROM ${BUILDER} AS build
WORKDIR /src
# Shown in the first log line and in build_info.
ARG GIT_REVISION=unknown
ENV GIT_REVISION=${GIT_REVISION}
COPY . .
# Builds the whole workspace; otherwise Cargo would unify features differently. Symbols of functions stay, for backtraces.
# The cache of the folder target is shared by builds of all checkouts, and Cargo compares times: so the build touches our
# files, or a checkout with older files would get the programs of the previous one. Only one build at a time has the folder.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target,sharing=locked \
    find . -path ./target -prune -o -type f -exec touch {} + \
    && cargo build --release --locked --workspace --bins \
    && mkdir /out \
    && for program in command-service query-service projector followgraph; do \
         strip --strip-debug -o "/out/$program" "target/release/$program" || exit 1; \
       done

FROM ${RUNTIME} AS runtime
ARG GIT_REVISION=unknown
ARG VERSION=0.1.0
LABEL org.opencontainers.image.vendor="followgraph" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${GIT_REVISION}"
USER 65532:65532

FROM runtime AS command-service
LABEL org.opencontainers.image.title="command-service" \
      org.opencontainers.image.description="Writes of the follow graph, and the relay to JetStream"
COPY --from=build /out/command-service /usr/local/bin/
EXPOSE 9080 9180
# The image has no shell and no curl: the program asks its own admin port. Engines replace unhealthy containers, so it asks
# whether the process runs, not whether it can serve: an unavailable database must not restart a container.
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["command-service", "--healthcheck"]
ENTRYPOINT ["command-service"]

FROM runtime AS query-service
LABEL org.opencontainers.image.title="query-service" \
      org.opencontainers.image.description="Reads of the follow graph"
COPY --from=build /out/query-service /usr/local/bin/
EXPOSE 9081 9181
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["query-service", "--healthcheck"]
ENTRYPOINT ["query-service"]

FROM runtime AS projector
LABEL org.opencontainers.image.title="projector" \
      org.opencontainers.image.description="Keeps one Neo4j as a read model of the follow graph"
COPY --from=build /out/projector /usr/local/bin/
EXPOSE 9182
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD ["projector", "--healthcheck"]
ENTRYPOINT ["projector"]

# Runs one command and ends, so there is no health check.
FROM runtime AS cli
LABEL org.opencontainers.image.title="followgraph" \
      org.opencontainers.image.description="Command line of the follow graph; migrates the database"
COPY --from=build /out/followgraph /usr/local/bin/
ENTRYPOINT ["followgraph"]
