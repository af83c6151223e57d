//! Idempotency keys around a route that counts what it does.
//!
//! Not here: the routes that have them.

use crate::api;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Extension, Router, body::Bytes, http::StatusCode, response::IntoResponse, routing::post};
use control_api::{
    idempotency::{self, Remembered},
    storage::{Filter, StoreError},
};
use futures_util::future::join_all;
use reqwest::Response;

/// A shop that makes things of what it is sent; `fail` it cannot make, `slow` takes a while.
struct Shop {
    api: api::Api,
    url: String,
    made: Arc<AtomicUsize>,
    token: String,
    user_id: String,
}

impl Shop {
    async fn open() -> Self {
        let api = api::Api::start().await;
        let (user, token) = api.user().await;
        let made = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&made);
        let make = move |body: Bytes| {
            let made = Arc::clone(&counter);
            async move {
                if body.starts_with(b"slow") {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                let n = made.fetch_add(1, Ordering::SeqCst);
                match &body[..] {
                    b"fail" => StatusCode::BAD_GATEWAY.into_response(),
                    b"large" => "x".repeat(70_000).into_response(),
                    _ => (StatusCode::CREATED, [("location", format!("/things/{n}"))], format!("thing {n}"))
                        .into_response(),
                }
            }
        };
        let router = Router::new()
            .route("/things", post(make.clone()))
            .route("/others", post(make))
            .layer(idempotency::layer())
            .layer(Extension(Arc::new(api.state.clone())));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { api, url, made, token, user_id: user.id }
    }

    fn made(&self) -> usize {
        self.made.load(Ordering::SeqCst)
    }

    async fn order(&self, path: &str, key: &str, body: &'static str) -> Response {
        let request = self.api.client.post(format!("{}{path}", self.url)).bearer_auth(&self.token);
        request.header("idempotency-key", key).body(body).send().await.unwrap()
    }
}

fn is_replayed(response: &Response) -> bool {
    response.headers().get("idempotency-replayed").is_some_and(|value| value == "true")
}

#[tokio::test]
async fn the_same_request_is_done_once_and_answered_twice() {
    let shop = Shop::open().await;
    let first = shop.order("/things", "k1", "a").await;
    let second = shop.order("/things", "k1", "a").await;
    assert!(!is_replayed(&first) && is_replayed(&second));
    for response in [first, second] {
        assert_eq!(
            (response.status().as_u16(), response.headers()["location"].to_str().unwrap()),
            (201, "/things/0")
        );
        assert_eq!(response.text().await.unwrap(), "thing 0");
    }
    assert_eq!(shop.order("/things", "k1", "b").await.status(), 422);
    assert_eq!(shop.order("/things?x=1", "k1", "a").await.status(), 422);
    assert_eq!(shop.made(), 1);
    // Another key, another path, and another user are other requests.
    assert_eq!(shop.order("/things", "k2", "a").await.text().await.unwrap(), "thing 1");
    assert_eq!(shop.order("/others", "k1", "a").await.text().await.unwrap(), "thing 2");
    let (_, token) = shop.api.user().await;
    let theirs = shop.api.client.post(format!("{}/things", shop.url)).bearer_auth(token);
    let theirs = theirs.header("idempotency-key", "k1").body("a").send().await.unwrap();
    assert_eq!(theirs.text().await.unwrap(), "thing 3");
    // Without a key, each is done.
    for _ in 0..2 {
        shop.api.client.post(format!("{}/things", shop.url)).body("a").send().await.unwrap();
    }
    assert_eq!(shop.made(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_at_once_have_one_effect() {
    let shop = Shop::open().await;
    let all = join_all((0..50).map(|_| shop.order("/things", "k", "slow"))).await;
    let count = |status: u16| all.iter().filter(|it| it.status() == status).count();
    assert!(count(201) >= 1 && count(201) + count(409) == 50);
    assert!(all.iter().filter(|it| it.status() == 409).all(|it| it.headers().contains_key("retry-after")));
    assert_eq!(all.iter().filter(|it| it.status() == 201 && !is_replayed(it)).count(), 1);
    assert_eq!(shop.made(), 1);
    assert!(is_replayed(&shop.order("/things", "k", "slow").await));
}

#[tokio::test]
async fn what_failed_or_is_too_large_is_done_anew() {
    let shop = Shop::open().await;
    for expected in 1..=2 {
        assert_eq!(shop.order("/things", "k", "fail").await.status(), 502);
        assert_eq!(shop.made(), expected);
    }
    assert_eq!(shop.order("/things", "k", "a").await.status(), 201, "it is not held against the key");
    for _ in 0..2 {
        let large = shop.order("/things", "l", "large").await;
        assert_eq!((is_replayed(&large), large.text().await.unwrap().len()), (false, 70_000));
    }
}

#[tokio::test]
async fn who_hangs_up_finds_the_answer_later() {
    let shop = Shop::open().await;
    let hasty = shop.api.client.post(format!("{}/things", shop.url)).bearer_auth(&shop.token);
    let hasty = hasty.header("idempotency-key", "k").body("slow").timeout(Duration::from_millis(100));
    assert!(hasty.send().await.is_err_and(|error| error.is_timeout()));
    for _ in 0..600 {
        let again = shop.order("/things", "k", "slow").await;
        if again.status() == 201 {
            assert_eq!((shop.made(), again.text().await.unwrap().as_str()), (1, "thing 0"));
            return;
        }
        assert_eq!(again.status(), 409);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("its answer never comes");
}

#[tokio::test]
async fn what_a_crash_left_is_taken_over_by_one_after_a_minute_and_all_ends_after_a_day() {
    let shop = Shop::open().await;
    shop.order("/things", "k", "slow").await;
    let remembered = shop.api.state.records::<Remembered>();
    let theirs = Filter::all().eq("user_id", shop.user_id.as_str());
    let id = remembered.find_one(theirs).await.unwrap().unwrap().record.id;
    let left = async |seconds: i64| {
        let leave = |it: &mut Remembered| {
            it.answer = None;
            it.begun_at = chrono::Utc::now().timestamp_millis() - seconds * 1_000;
            Ok::<_, StoreError>(())
        };
        remembered.update(&id, leave).await.unwrap();
    };
    left(30).await;
    assert_eq!(shop.order("/things", "k", "slow").await.status(), 409, "it may still be done");
    left(61).await;
    let all = join_all((0..20).map(|_| shop.order("/things", "k", "slow"))).await;
    assert_eq!(all.iter().filter(|it| it.status() == 201 && !is_replayed(it)).count(), 1);
    assert_eq!(shop.made(), 2);
    let end = |it: &mut Remembered| {
        it.expires_at = 1;
        Ok::<_, StoreError>(())
    };
    remembered.update(&id, end).await.unwrap();
    assert!(!is_replayed(&shop.order("/things", "k", "slow").await));
    assert_eq!(shop.made(), 3);
}

#[tokio::test]
async fn keys_are_sane_and_their_users_logged_in() {
    let shop = Shop::open().await;
    let longest = "k".repeat(255);
    for (key, status) in [("", 400), ("a b", 400), (&*format!("{longest}k"), 400), (&longest, 201)] {
        assert_eq!(shop.order("/things", key, "a").await.status(), status, "{key}");
    }
    for token in ["", "x.y.z"] {
        let order = shop.api.client.post(format!("{}/things", shop.url)).bearer_auth(token);
        let order = order.header("idempotency-key", "k").body("a").send().await.unwrap();
        assert_eq!(order.status(), 401);
    }
    assert_eq!(shop.made(), 1);
}
