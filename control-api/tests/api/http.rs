//! The API over a real socket: health, version, each error, and its description.

use crate::api;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use control_api::{ApiSettings, ApiState, Readiness, serve};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::Duration,
};

#[tokio::test]
async fn live() {
    let answer = Api::start().await.get("/health/live").await;
    assert_eq!((answer.status, answer.json()), (200, json!({"status": "live"})));
}

#[tokio::test]
async fn ready_names_each_dependency() {
    let api = Api::start().await;
    let answer = api.get("/health/ready").await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.json(),
        json!({"status": "ready", "dependencies": [
            {"name": "speech", "required": true, "status": "ready"},
            {"name": "chat", "required": true, "status": "ready"},
        ]})
    );
    api.speech_works.store(false, Ordering::Relaxed);
    let answer = api.get("/health/ready").await;
    assert_eq!((answer.status, answer.header("content-type")), (503, "application/json"));
    assert_eq!(
        answer.json(),
        json!({"status": "unavailable", "dependencies": [
            {"name": "speech", "required": true, "status": "unavailable", "reason": "the weights are loading"},
            {"name": "chat", "required": true, "status": "ready"},
        ]})
    );
    assert_eq!(api.get("/health/live").await.status, 200, "alive all the same");
}

#[tokio::test]
async fn version() {
    let answer = Api::start().await.get("/api/v1/version").await;
    let expected = json!({"name": "interviewai", "version": "1.2.3", "protocol": "interviewai.v1"});
    assert_eq!((answer.status, answer.json()), (200, expected));
}

#[tokio::test]
async fn metrics() {
    let answer = Api::start().await.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(answer.body, "sessions 3\n");
}

#[tokio::test]
async fn errors_are_problem_json() {
    async fn check(method: &str, target: &str, status: u16, title: &str, path: &str) {
        let answer = Api::start().await.request(method, target).await;
        assert_eq!(answer.status, status, "{method} {target}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let body = answer.json();
        let timestamp = body["timestamp"].as_str().unwrap();
        let shape: String = timestamp.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000Z");
        let expected = json!({
            "type": "about:blank", "title": title, "status": status, "detail": body["detail"],
            "statusCode": status, "timestamp": timestamp, "path": path, "error": title,
        });
        assert_eq!(body, expected);
        assert!(body["detail"].as_str().unwrap().len() > 10, "it says what to do");
        assert!(!answer.body.contains("s3cret"), "the query is not repeated");
    }
    check("GET", "/nothing?ticket=s3cret", 404, "Not Found", "/nothing").await;
    check("GET", "/api/v1/", 404, "Not Found", "/api/v1/").await;
    check("GET", "/health/live/", 404, "Not Found", "/health/live/").await;
    check("DELETE", "/health/live", 405, "Method Not Allowed", "/health/live").await;
    check("POST", "/api/v1/version", 405, "Method Not Allowed", "/api/v1/version").await;

    let answer = Api::start().await.request("DELETE", "/health/live").await;
    assert_eq!(answer.header("allow"), "GET,HEAD");
    let answer = Api::start().await.request("HEAD", "/nothing").await;
    assert_eq!((answer.status, answer.body.as_str()), (404, ""));
}

#[tokio::test]
async fn a_panic_is_a_problem_and_the_server_goes_on() {
    let api = Api::start_with(|state| state.metrics = Arc::new(|| panic!("a test of panics"))).await;
    for _ in 0..2 {
        let answer = api.request_with("GET", "/metrics", "origin: http://localhost").await;
        assert_eq!((answer.status, answer.header("content-type")), (500, "application/problem+json"));
        assert!(!answer.body.contains("a test of panics"));
        assert_eq!(answer.header("access-control-allow-origin"), "http://localhost", "pages can read it");
    }
    assert_eq!(api.get("/health/live").await.status, 200);
}

#[tokio::test]
async fn every_answer_has_an_id_and_is_guarded() {
    let api = Api::start().await;
    for target in ["/health/live", "/nothing", "/api/v1/users/me"] {
        let answer = api.request_with("GET", target, "x-request-id: from-the-client_1").await;
        assert_eq!(answer.header("x-request-id"), "from-the-client_1");
        let answer = api.request_with("GET", target, "x-request-id: <script>").await;
        assert_eq!(answer.header("x-request-id").len(), 36, "a sane one instead");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(answer.header("content-security-policy").starts_with("default-src 'none'"));
    }
}

#[tokio::test]
async fn pages_of_this_machine_and_allowed_ones_may_call() {
    let extension = "chrome-extension://abcdefghijklmnop";
    let allowed = [extension, "https://app.example"];
    let api = Api::start_with(|state| {
        let allowed_origins = allowed.map(str::to_owned).into();
        state.settings = Arc::new(ApiSettings { allowed_origins, ..(*state.settings).clone() });
    })
    .await;
    for (origin, may) in [
        (extension, true),
        ("https://app.example", true),
        ("http://localhost:5173", true),
        ("https://app.example.evil.example", false),
        ("http://app.example", false),
        ("chrome-extension://another", false),
        ("null", false),
    ] {
        let headers = format!("origin: {origin}\r\naccess-control-request-method: PATCH");
        let preflight = api.request_with("OPTIONS", "/api/v1/users/me", &headers).await;
        let call = api.request_with("GET", "/api/v1/users/me", &format!("origin: {origin}")).await;
        for answer in [&preflight, &call] {
            let told = answer.header("access-control-allow-origin");
            assert_eq!(told, if may { origin } else { "" }, "{origin}");
        }
        assert!(preflight.header("access-control-allow-methods").contains("PATCH"));
        assert!(preflight.header("access-control-allow-headers").contains("idempotency-key"));
        assert!(call.header("access-control-expose-headers").contains("ratelimit-policy"));
        assert_eq!(call.header("access-control-allow-credentials"), "", "no cookies");
    }
}

#[tokio::test]
async fn the_documentation_is_served_from_here_alone() {
    let api = Api::start().await;
    assert_eq!(api.get("/docs").await.header("location"), "/docs/");
    let page = api.get("/docs/").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html"));
    let policy = page.header("content-security-policy");
    assert!(policy.contains("script-src 'self';") && policy.contains("connect-src 'self'"), "{policy}");
    // What the page loads is here, and no script stands in it, which the policy would forbid.
    let mut loaded = 0;
    for attribute in ["src=\"", "href=\""] {
        for file in page.body.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()) {
            let file = file.trim_start_matches("./");
            assert!(!file.contains(':') && !file.starts_with('/'), "{file} is elsewhere");
            let answer = api.get_bytes(&format!("/docs/{file}")).await;
            assert!(answer.starts_with(b"HTTP/1.1 200") && answer.len() > 300, "{file}");
            loaded += 1;
        }
    }
    assert!(loaded >= 5 && page.body.matches("<script").count() == page.body.matches("<script src=").count());
    let begin = api.get("/docs/swagger-initializer.js").await;
    assert!(
        begin.body.contains("/api/v1/openapi.json") && !begin.body.contains("petstore"),
        "{}",
        begin.body
    );
}

#[tokio::test]
async fn routes_that_need_a_token_say_so() {
    let api = Api::start().await;
    let description = api.get("/api/v1/openapi.json").await.json();
    assert_eq!(description["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let path = path.replace(['{', '}'], "");
            let status = api.request(&method.to_uppercase(), &path).await.status;
            let described = operation["security"].is_array();
            // What is refused for another reason may check its body or query first, where nobody has to log in.
            assert!(
                status != 401 || described || path.contains("/auth/"),
                "{method} {path} says nothing of a token"
            );
            assert!(!described || status == 401, "{method} {path} gave {status} without a token");
        }
    }
}

#[tokio::test]
async fn a_header_that_never_ends_is_refused() {
    let answer = Api::start().await.get(&format!("/{}", "x".repeat(20 * 1024))).await;
    assert!((400..500).contains(&answer.status), "{}", answer.status);
}

/// The one test that waits for a time-out of ours: no clock can be paused under a real socket.
#[tokio::test]
async fn a_client_that_sends_no_header_is_left() {
    let api = Api::start().await;
    let mut stream = TcpStream::connect(&api.address).await.unwrap();
    stream.write_all(b"GET /health/live HTTP/1.1\r\nhost:").await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut Vec::new())).await;
    read.expect("the server hangs up by itself").unwrap();
}

#[tokio::test]
async fn shutdown_ends_idle_connections_and_frees_the_port() {
    let api = Api::start().await;
    // Kept open after its answer.
    let mut stream = TcpStream::connect(&api.address).await.unwrap();
    stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let Api { address, stop, server, .. } = api;
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(60), server).await.expect("serve returns").unwrap();
    stream.read_to_end(&mut Vec::new()).await.unwrap();
    assert!(TcpStream::connect(&address).await.is_err());
}

#[tokio::test]
async fn shutdown_does_not_wait_for_ever() {
    let api = Api::start().await;
    // A request that never ends keeps its connection busy.
    let mut stream = TcpStream::connect(&api.address).await.unwrap();
    stream.write_all(b"GET /health").await.unwrap();
    api.get("/health/live").await;
    api.stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(60), api.server).await.expect("serve returns").unwrap();
}

#[tokio::test]
async fn the_description_is_the_committed_one() {
    let body = Api::start().await.get("/api/v1/openapi.json").await.body + "\n";
    let committed = include_str!("../openapi.json");
    if body != committed {
        let now = concat!(env!("CARGO_TARGET_TMPDIR"), "/openapi.json");
        std::fs::write(now, body).unwrap();
        panic!(
            "the HTTP API has changed. Look at the difference, and if it is meant, commit it:\n  \
             diff control-api/tests/openapi.json {now}\n  cp {now} control-api/tests/openapi.json"
        );
    }
}

#[tokio::test]
async fn every_described_path_is_answered_as_described() {
    let api = Api::start().await;
    let description = api.get("/api/v1/openapi.json").await.json();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1."));
    let mut asked = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let answer = api.request(&method.to_uppercase(), path).await;
            let described = &operation["responses"][answer.status.to_string()];
            assert!(described.is_object(), "{method} {path} gave {}, which is not described", answer.status);
            let content: Vec<_> =
                described["content"].as_object().into_iter().flatten().map(|it| it.0).collect();
            let got = answer.header("content-type").split(';').next().unwrap();
            assert_eq!(content, [got], "{method} {path}");
            assert!(operation["summary"].is_string(), "{method} {path} says what it is for");
            asked += 1;
        }
    }
    assert!(asked >= 15, "{asked}: a lost route is missed");
}

/// A running API.
struct Api {
    address: String,
    speech_works: Arc<AtomicBool>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Api {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut ApiState)) -> Self {
        let speech_works = Arc::new(AtomicBool::new(true));
        let speech = Dependency { name: "speech", works: Arc::clone(&speech_works) };
        let chat = Dependency { name: "chat", works: Arc::new(AtomicBool::new(true)) };
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let mut state = ApiState {
            readiness: Arc::new([Arc::new(speech), Arc::new(chat)]),
            metrics: Arc::new(|| "sessions 3\n".to_owned()),
            ..api::state(&folder, &Arc::default()).await
        };
        change(&mut state);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(listener, state, async {
            // A test that ends drops `stop`, and its server ends too.
            let _ = stopped.await;
        }));
        Self { address, speech_works, stop, server, _folder: folder }
    }

    async fn get(&self, target: &str) -> Answer {
        self.request("GET", target).await
    }

    async fn request(&self, method: &str, target: &str) -> Answer {
        self.request_with(method, target, "accept: */*").await
    }

    async fn request_with(&self, method: &str, target: &str, headers: &str) -> Answer {
        let bytes = self.bytes(method, target, headers).await;
        Answer::parse(&String::from_utf8(bytes).expect("every answer is text"))
    }

    /// Head and body of a file that is no text.
    async fn get_bytes(&self, target: &str) -> Vec<u8> {
        self.bytes("GET", target, "accept: */*").await
    }

    async fn bytes(&self, method: &str, target: &str, headers: &str) -> Vec<u8> {
        let mut stream = TcpStream::connect(&self.address).await.expect("the server listens");
        let request = format!(
            "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("the server reads");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.expect("the server answers");
        bytes
    }
}

/// An HTTP answer with its whole body.
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let (status_line, headers) = head.split_once("\r\n").expect("a status and headers");
        let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status code");
        let headers = headers
            .lines()
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Self { status, headers, body: body.to_owned() }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }
}

struct Dependency {
    name: &'static str,
    works: Arc<AtomicBool>,
}

impl Readiness for Dependency {
    fn name(&self) -> &str {
        self.name
    }

    fn check(&self) -> Result<(), String> {
        if self.works.load(Ordering::Relaxed) { Ok(()) } else { Err("the weights are loading".to_owned()) }
    }
}
