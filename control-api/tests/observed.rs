//! What is seen of requests: a log line and metrics by route, and nothing of whom they are about.
//!
//! One test, as a process has one subscriber and one recorder. Not here: the log's format (root crate).

#![allow(clippy::unwrap_used)] // A test may panic.

#[path = "common/api.rs"]
mod api;

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use api::Api;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn requests_are_seen_by_their_route_and_not_by_whom_they_are_about() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_ansi(false);
    subscriber.with_writer(move || writer.clone()).init();
    let counters = Counters::default();
    assert!(metrics::set_global_recorder(counters.clone()).is_ok());

    let api = Api::start().await;
    let (user, token) = api.user().await;
    let (admin, of_admin) = api.user().await;
    let make_admin = |user: &mut control_api::users::User| {
        user.admin = true;
        Ok::<_, control_api::storage::StoreError>(())
    };
    api.state.records().update(&admin.id, make_admin).await.unwrap();
    let send = async |request: reqwest::RequestBuilder, status: u16| {
        assert_eq!(request.send().await.unwrap().status(), status);
    };
    let cv = json!({"text": "canary of a CV"});
    send(api.request(Method::PUT, "/api/v1/users/me/cv").bearer_auth(&token).json(&cv), 200).await;
    let strange = json!({"first_name": {"canary": 1}});
    send(api.request(Method::PATCH, "/api/v1/users/me").bearer_auth(&token).json(&strange), 400).await;
    let theirs = format!("/api/v1/admin/users/{}", user.id);
    let plan = json!({"plan": "pro"});
    send(api.request(Method::PATCH, &theirs).bearer_auth(&of_admin).json(&plan), 200).await;
    let find = format!("/api/v1/admin/users?email={}", user.email);
    send(api.get(&find).bearer_auth(&of_admin), 200).await;
    for n in 0..20 {
        send(api.get(&format!("/nothing/canary{n}?ticket=canary")), 404).await;
        let method = Method::from_bytes(format!("CANARY{n}").as_bytes()).unwrap();
        send(api.request(method, "/health/live"), 405).await;
    }
    send(api.get("/health/live").header("x-request-id", "an-id-of-mine"), 200).await;

    let text = log.text();
    for seen in [
        r#"method="PUT" route="/api/v1/users/me/cv" status=200 ms="#,
        r#"route="/api/v1/admin/users/{id}" status=200"#,
        r#"route="unmatched" status=404"#,
        r#"request{id="an-id-of-mine"}"#,
    ] {
        assert!(text.contains(seen), "{seen} is missing in\n{text}");
    }
    for hidden in ["canary", "CANARY", user.id.as_str(), &user.email, &token, &of_admin, "127.0.0.1"] {
        assert!(!text.contains(hidden), "{hidden} is in\n{text}");
    }

    let requests = counters.of("http_requests_total");
    let of = |labels: &str| requests.get(labels).copied().unwrap_or_default();
    assert_eq!(of("method=PUT,route=/api/v1/users/me/cv,status=200"), 1, "{requests:?}");
    assert_eq!(of("method=GET,route=unmatched,status=404"), 20);
    assert_eq!(of("method=other,route=/health/live,status=405"), 20);
    assert_eq!(of("method=PATCH,route=/api/v1/admin/users/{id},status=200"), 1);
    assert!(requests.len() <= 8, "strangers add no labels: {requests:?}");
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts what is counted, by name and labels.
#[derive(Clone, Default)]
struct Counters(Arc<Mutex<BTreeMap<NameAndLabels, Arc<AtomicU64>>>>);

type NameAndLabels = (String, String);

impl Counters {
    fn of(&self, name: &str) -> BTreeMap<String, u64> {
        let all = self.0.lock().unwrap();
        let named = all.iter().filter(|((it, _), _)| it == name);
        named.map(|((_, labels), count)| (labels.clone(), count.load(Ordering::Relaxed))).collect()
    }
}

impl Recorder for Counters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let mut all = self.0.lock().unwrap();
        let count = all.entry((key.name().to_owned(), labels.join(","))).or_default();
        Counter::from_arc(Arc::clone(count))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
