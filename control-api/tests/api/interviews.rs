//! Interviews and their tickets, over a real socket.
//!
//! Not here: the handshake at which a ticket is shown (the root crate's tests).

use crate::api;
use std::sync::Arc;

use api::{Api, answer};
use control_api::{
    interviews::{Interview, redeem},
    storage::Filter,
};
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const PATH: &str = "/api/v1/interviews";

async fn made(api: &Api, token: &str, title: &str) -> String {
    let (status, body) = answer(api.post(PATH, &json!({"title": title})).bearer_auth(token)).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    body["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_interview_is_made_read_changed_and_deleted() {
    let api = Api::start().await;
    let (_, token) = api.user().await;
    let new =
        json!({"title": " Backend ", "company": "Acme", "position": "Engineer", "job_description": "Rust"});
    let response = api.post(PATH, &new).bearer_auth(&token).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let made = api::json(response).await;
    assert_eq!((&made["title"], &made["company"]), (&json!("Backend"), &json!("Acme")));
    let read = |path: &str| answer(api.get(path).bearer_auth(&token));
    assert_eq!(read(&location).await, (StatusCode::OK, made.clone()));

    let patch = api.request(Method::PATCH, &location).bearer_auth(&token).json(&json!({"company": "Ajax"}));
    let (status, changed) = answer(patch).await;
    assert_eq!(status, StatusCode::OK);
    let mut expected = made;
    expected["company"] = json!("Ajax");
    assert_eq!(changed, expected);
    assert_eq!(read(&location).await.1, expected);

    let delete = || answer(api.request(Method::DELETE, &location).bearer_auth(&token));
    assert_eq!(delete().await, (StatusCode::NO_CONTENT, Value::Null));
    assert_eq!(delete().await.0, StatusCode::NOT_FOUND);
    assert_eq!(read(&location).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn pages_come_newest_first_and_hold_each_interview_once() {
    let api = Api::start().await;
    let (_, token) = api.user().await;
    let (_, other) = api.user().await;
    let mut expected = Vec::new();
    for n in 0..7 {
        expected.insert(0, made(&api, &token, &format!("n{n}")).await);
        made(&api, &other, "another user's").await;
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("{PATH}?limit=3{cursor}");
        let (status, page) = answer(api.get(&path).bearer_auth(&token)).await;
        assert_eq!(status, StatusCode::OK, "{page}");
        seen.extend(page["items"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, expected);
    for query in ["limit=0", "limit=51", "limit=x", "cursor=x", "cursor=W251bGwsImEiXQ", "what=1"] {
        let (status, body) = answer(api.get(&format!("{PATH}?{query}")).bearer_auth(&token)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {body}");
    }
}

#[tokio::test]
async fn another_users_interview_answers_as_a_missing_one() {
    let api = Api::start().await;
    let (_, ann) = api.user().await;
    let (_, bob) = api.user().await;
    let id = made(&api, &ann, "Secret").await;
    let body = json!({"title": "mine"});
    for (method, end) in
        [(Method::GET, ""), (Method::PATCH, ""), (Method::DELETE, ""), (Method::POST, "/ticket")]
    {
        let mut answers = Vec::new();
        let ids = [&id, "01a0f7c2-6b1e-7000-8000-000000000000", "no-id", "a%00b", &"i".repeat(300)];
        for id in ids {
            let mut request = api.request(method.clone(), &format!("{PATH}/{id}{end}")).bearer_auth(&bob);
            if method == Method::PATCH {
                request = request.json(&body);
            }
            let (status, mut body) = answer(request).await;
            body["timestamp"].take();
            body["path"].take();
            answers.push((status, body));
        }
        assert_eq!(answers[0].0, StatusCode::NOT_FOUND);
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{method}: {answers:?}");
        let anonymous = api.request(method.clone(), &format!("{PATH}/{id}{end}")).json(&body);
        assert_eq!(answer(anonymous).await.0, StatusCode::UNAUTHORIZED);
    }
    let (_, read) = answer(api.get(&format!("{PATH}/{id}")).bearer_auth(&ann)).await;
    assert_eq!(read["title"], "Secret");
}

#[tokio::test]
async fn what_is_too_long_unknown_or_protected_is_refused() {
    let api = Api::start().await;
    let (_, token) = api.user().await;
    let id = made(&api, &token, "as it was").await;
    let long = "x".repeat(201);
    let too_long = "ä".repeat(16 * 1024 + 1);
    let refused = [
        json!({"title": ""}),
        json!({"title": " \t"}),
        json!({"title": long}),
        json!({"title": null}),
        json!({"title": "a", "company": long}),
        json!({"title": "a", "job_description": too_long}),
        json!({"title": "a", "id": "b"}),
        json!({"title": "a", "user_id": "b"}),
        json!({"title": "a", "created_at": "2026-01-01T00:00:00Z"}),
        json!(["title"]),
    ];
    for body in &refused {
        for request in [api.post(PATH, body), api.request(Method::PATCH, &format!("{PATH}/{id}")).json(body)]
        {
            let (status, answered) = answer(request.bearer_auth(&token)).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{answered}");
        }
    }
    let (_, read) = answer(api.get(&format!("{PATH}/{id}")).bearer_auth(&token)).await;
    assert_eq!(read["title"], "as it was");
    let fits = json!({"title": "ä".repeat(200), "job_description": "ä".repeat(16 * 1024)});
    assert_eq!(answer(api.post(PATH, &fits).bearer_auth(&token)).await.0, StatusCode::CREATED);
}

#[tokio::test]
async fn a_user_has_at_most_1000_interviews_however_many_are_made_at_once() {
    let api = Api::start().await;
    let (user, token) = api.user().await;
    let interviews = api.state.records::<Interview>();
    for n in 0..995 {
        let interview = Interview {
            id: format!("i{n}"),
            user_id: user.id.clone(),
            title: String::new(),
            company: String::new(),
            position: String::new(),
            job_description: String::new(),
            created_at: n,
        };
        interviews.insert(&interview).await.unwrap();
    }
    let body = json!({"title": "one more"});
    let tries = (0..20).map(|_| answer(api.post(PATH, &body).bearer_auth(&token)));
    let answers = join_all(tries).await;
    let made = answers.iter().filter(|(status, _)| *status == StatusCode::CREATED).count();
    assert!(
        made <= 5 && answers.iter().all(|(status, _)| [201, 409].contains(&status.as_u16())),
        "{answers:?}"
    );
    let kept = interviews.count(&Filter::all().eq("user_id", &*user.id)).await.unwrap();
    assert_eq!(kept, 995 + made as u64);
}

#[tokio::test]
async fn a_ticket_works_once_for_one_of_fifty() {
    let api = Api::start().await;
    let (user, token) = api.user().await;
    let id = made(&api, &token, "Backend").await;
    let path = format!("{PATH}/{id}/ticket");
    let fetch = || answer(api.request(Method::POST, &path).bearer_auth(&token));
    let (status, ticket) = fetch().await;
    assert_eq!(status, StatusCode::CREATED, "{ticket}");
    let (_, another) = fetch().await;
    assert_ne!(ticket["ticket"], another["ticket"]);
    assert_ne!(ticket["session_id"], another["session_id"]);
    assert!(ticket["expires_in"].as_u64().unwrap() <= 60);

    let text: Arc<str> = ticket["ticket"].as_str().unwrap().into();
    assert_eq!(text.len(), 43, "256 bits in base64url");
    assert!(api.state.cache.get(&format!("ticket:{text}")).await.unwrap().is_none(), "kept hashed");
    let tries = (0..50).map(|_| {
        let (cache, text) = (Arc::clone(&api.state.cache), Arc::clone(&text));
        tokio::spawn(async move { redeem(&*cache, &text).await.unwrap() })
    });
    let redeemed: Vec<_> = join_all(tries).await.into_iter().filter_map(Result::unwrap).collect();
    let [redeemed] = &redeemed[..] else { panic!("{} redeemed it", redeemed.len()) };
    assert_eq!((&redeemed.user_id, &redeemed.interview_id), (&user.id, &id));
    assert_eq!(json!(redeemed.session_id), ticket["session_id"]);
    for none in ["", "x", &"A".repeat(43), &"ä".repeat(300)] {
        assert_eq!(redeem(&*api.state.cache, none).await, Ok(None));
    }
    let other = another["ticket"].as_str().unwrap();
    assert!(redeem(&*api.state.cache, other).await.unwrap().is_some(), "the other one still works");
}
