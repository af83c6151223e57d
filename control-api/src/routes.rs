//! The whole HTTP surface on one screen, and the bounds that hold for all of it.
//!
//! Not here: what a route does; each feature has its file.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Request},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

use crate::{
    ApiState, Problem, ProblemBody, auth, browser, describe, health, history, interviews, limits, metrics,
    observe, problem, users, version,
};

/// The API as a router. Every error answer is problem JSON; request bodies are bounded.
pub fn router(state: ApiState) -> Router {
    let (router, mut document) = routes().split_for_parts();
    describe::complete(&mut document);
    let document = document.to_pretty_json().expect("an OpenAPI document has text keys only");
    let docs = SwaggerUi::new("/docs").config(utoipa_swagger_ui::Config::from(DESCRIPTION));
    let router = router.layer(Extension(Document(document.into()))).merge(docs);
    around(router.with_state(state.clone()), state)
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

/// What holds for every route, whether somebody thought of it there or not; read from the last line up.
fn around(router: Router, state: ApiState) -> Router {
    let cors = browser::cors(&state.settings.allowed_origins);
    let limiter = limits::Limiter::new(state.clone());
    bounded(router.layer(Extension(Arc::new(state))))
        .layer(middleware::from_fn_with_state(limiter, limits::limited))
        .layer(middleware::from_fn(timed))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(problem::complete))
        .layer(cors)
        .layer(middleware::from_fn(browser::guarded))
        .layer(middleware::from_fn(observe::observed))
}

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
}

/// What a request needs of the store ends sooner by itself, so this is a client that is slow.
async fn timed(request: Request, next: Next) -> Response {
    tokio::time::timeout(LONGEST_REQUEST, next.run(request)).await.unwrap_or_else(|_| {
        let detail = "the request took longer than 30 s; send it again, or less at once";
        Problem::new(StatusCode::REQUEST_TIMEOUT, detail).into_response()
    })
}

/// The panic hook has logged it.
fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "something failed in the server; the log says what")
        .into_response()
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

const DESCRIPTION: &str = "/api/v1/openapi.json";
/// Longest request, with its body, until its answer begins.
const LONGEST_REQUEST: Duration = Duration::from_secs(30);
/// No route reads more than a short JSON object yet; an upload sets its own limit.
const MAX_BODY_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use axum::routing::post;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_that_takes_too_long_is_given_up() {
        async fn status(seconds: u64) -> StatusCode {
            let late = move || tokio::time::sleep(Duration::from_secs(seconds));
            let router = Router::new().route("/", post(late)).layer(middleware::from_fn(timed));
            let request = axum::http::Request::post("/").body(axum::body::Body::empty()).unwrap();
            tower::ServiceExt::oneshot(router, request).await.unwrap().status()
        }
        assert_eq!((status(29).await, status(31).await), (StatusCode::OK, StatusCode::REQUEST_TIMEOUT));
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_refused() {
        async fn check(bytes: usize, expected: &str) {
            let router = Router::new().route("/length", post(async |body: Bytes| body.len().to_string()));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut stream = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let server = {
                let router = bounded(router).layer(middleware::from_fn(problem::complete));
                tokio::spawn(crate::serve::serve_router(listener, router, std::future::pending()))
            };
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
