//! The whole HTTP surface on one screen, and the bounds that hold for all of it.
//!
//! Not here: what a route does; each feature has its file.

use axum::{
    Extension, Router,
    body::Bytes,
    extract::DefaultBodyLimit,
    http::{StatusCode, header},
    middleware,
    response::IntoResponse,
};
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    ApiState, Problem, ProblemBody, auth, health, history, interviews, metrics, problem, users, version,
};

/// The API as a router. Every error answer is problem JSON; request bodies are bounded.
pub fn router(state: ApiState) -> Router {
    let (router, document) = routes().split_for_parts();
    let document = document.to_pretty_json().expect("an OpenAPI document has text keys only");
    bounded(router.layer(Extension(Document(document.into()))).with_state(state))
}

fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(version::version))
        .routes(routes!(openapi))
        .routes(routes!(metrics::metrics))
        .merge(auth::routes())
        .merge(users::routes())
        .merge(interviews::routes())
        .merge(history::routes())
}

/// What holds for every route, whether somebody thought of it there or not.
fn bounded(router: Router) -> Router {
    router
        .fallback(async || {
            Problem::new(
                StatusCode::NOT_FOUND,
                "nothing is served at this path; /api/v1/openapi.json lists what is",
            )
        })
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path does not answer that method; the Allow header lists those it does",
            )
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(problem::complete))
}

/// This document, OpenAPI 3.1.
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    tag = "about",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value, content_type = "application/json"))
)]
async fn openapi(Extension(Document(document)): Extension<Document>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], document)
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "InterviewAI",
        version = "1",
        description = "The HTTP API of InterviewAI. Every error answer is a Problem. Live sessions are not HTTP: see docs/protocol.md."
    ),
    components(schemas(ProblemBody))
)]
struct Description;

/// The description, written once.
#[derive(Clone)]
struct Document(Bytes);

/// No route reads more than a short JSON object yet; an upload sets its own limit.
const MAX_BODY_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        async fn check(bytes: usize, expected: &str) {
            let router = Router::new().route("/length", post(async |body: Bytes| body.len().to_string()));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let server =
                tokio::spawn(crate::serve::serve_router(listener, bounded(router), std::future::pending()));
            let head = format!(
                "POST /length HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {bytes}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            // The server may answer and hang up before it has the whole body.
            let _ = stream.write_all(&vec![b'x'; bytes]).await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.contains(expected), "{bytes} bytes: {answer}");
            server.abort();
        }
        check(MAX_BODY_BYTES, "\r\n\r\n65536").await;
        check(MAX_BODY_BYTES + 1, r#""statusCode":413"#).await;
    }
}
