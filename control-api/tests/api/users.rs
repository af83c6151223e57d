//! Users over the wire: profile, preferences, CV, usage, and what an admin does.
//!
//! Not here: logging in (`auth.rs`).

use crate::api;
use std::time::Duration;

use api::{Api, answer};
use control_api::{
    cache::Heard,
    quotas::{Resource, reserve},
    storage::StoreError,
    users::{CHANGED_TOPIC, Plan, User},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const ME: &str = "/api/v1/users/me";
const PREFERENCES: &str = "/api/v1/users/me/preferences";
const CV: &str = "/api/v1/users/me/cv";

struct Caller<'a> {
    api: &'a Api,
    token: String,
}

impl Caller<'_> {
    async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.api.get(path).bearer_auth(&self.token)).await
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        answer(self.api.request(method, path).bearer_auth(&self.token).json(body)).await
    }

    async fn patch(&self, path: &str, body: Value) -> (StatusCode, Value) {
        self.send(Method::PATCH, path, &body).await
    }

    /// A refusal as 400, and what it says.
    async fn refusal(&self, path: &str, body: Value) -> String {
        let (status, problem) = self.patch(path, body.clone()).await;
        assert_eq!(status, 400, "{body}");
        problem["detail"].as_str().unwrap().to_owned()
    }
}

async fn caller(api: &Api) -> (User, Caller<'_>) {
    let (user, token) = api.user().await;
    (user, Caller { api, token })
}

#[tokio::test]
async fn a_profile_is_shown_and_its_names_change() {
    let api = Api::start().await;
    let (user, ann) = caller(&api).await;
    let (status, profile) = ann.get(ME).await;
    assert_eq!(status, 200);
    assert_eq!((&profile["id"], &profile["email"]), (&json!(user.id), &json!(user.email)));
    assert_eq!((&profile["plan"], &profile["role"]), (&json!("free"), &json!("user")));
    assert!(profile["created_at"].as_str().unwrap().ends_with('Z'));
    assert!(!profile.to_string().contains("hash"));

    let (status, changed) = ann.patch(ME, json!({"first_name": "Anna"})).await;
    assert_eq!(
        (status, &changed["first_name"], &changed["last_name"]),
        (StatusCode::OK, &json!("Anna"), &profile["last_name"])
    );
    let (_, changed) = ann.patch(ME, json!({"last_name": null})).await;
    assert_eq!((&changed["first_name"], &changed["last_name"]), (&json!("Anna"), &json!("")));
    assert_eq!(ann.get(ME).await.1, changed);
}

#[tokio::test]
async fn what_is_protected_or_unknown_is_refused_by_name() {
    let api = Api::start().await;
    let (user, ann) = caller(&api).await;
    let shown = ann.get(ME).await.1;
    let mut members = serde_json::to_value(&user).unwrap().as_object().unwrap().clone();
    members.extend(shown.as_object().unwrap().clone());
    members.remove("first_name");
    members.remove("last_name");
    members.insert("password".to_owned(), "canary".into());
    members.insert("nothing_known".to_owned(), "canary".into());
    for (member, value) in members {
        for value in [value, json!(null), json!(true), json!({"canary": 1})] {
            let refusal = ann.refusal(ME, json!({"first_name": "Eve", (&member): value})).await;
            assert!(refusal.contains(&format!("`{member}`")) && !refusal.contains("canary"), "{refusal}");
        }
    }
    for body in [json!({"first_name": null}), json!({"first_name": ""}), json!({"first_name": "a\nb"})] {
        assert!(ann.refusal(ME, body).await.contains("first_name"));
    }
    ann.refusal(ME, json!(["first_name"])).await;
    ann.refusal(ME, json!({"last_name": "x".repeat(101)})).await;
    assert_eq!(ann.get(ME).await.1, shown, "nothing was changed on the way");
    assert_eq!(api.state.records::<User>().get(&user.id).await.unwrap().unwrap().record, user);
}

#[tokio::test]
async fn preferences_change_one_by_one_even_at_once() {
    let api = Api::start().await;
    let (_, ann) = caller(&api).await;
    let before = ann.get(PREFERENCES).await.1;
    let changes = [
        json!({"language": "de"}),
        json!({"answers": {"style": "simple"}}),
        json!({"answers": {"length": "long"}}),
        json!({"privacy": {"save_history": false}}),
        json!({"notifications": {"push": true}}),
        json!({"auto_transcription": false}),
    ];
    let all = futures_util::future::join_all(changes.map(|change| ann.patch(PREFERENCES, change))).await;
    assert!(all.iter().all(|(status, _)| *status == 200));
    let after = ann.get(PREFERENCES).await.1;
    let expected = json!({
        "language": "de", "notifications": {"email": true, "push": true},
        "answers": {"style": "simple", "length": "long"}, "auto_transcription": false,
        "privacy": {"save_history": false, "share_analytics": false},
    });
    assert_eq!(after, expected, "no change is lost");
    let reset = json!({"language": null, "answers": null, "auto_transcription": null, "privacy": null,
        "notifications": {"push": null}});
    assert_eq!(ann.patch(PREFERENCES, reset).await.1, before);
    for (body, named) in [
        (json!({"language": "english"}), "language"),
        (json!({"language": "xx"}), "language"),
        (json!({"answers": {"tone": "loud"}}), "`tone`"),
        (json!({"answers": {"tone": null}}), "`tone`"),
        (json!({"plan": "elite"}), "`plan`"),
        (json!({"answers": {"style": "canary"}}), "expected"),
        (json!({"answers": 3}), "expected"),
    ] {
        let refusal = ann.refusal(PREFERENCES, body).await;
        assert!(refusal.contains(named) && !refusal.contains("canary"), "{refusal}");
    }
    assert_eq!(ann.get(PREFERENCES).await.1, before);
}

#[tokio::test]
async fn a_cv_is_kept_replaced_and_taken_away() {
    let api = Api::start().await;
    let (_, ann) = caller(&api).await;
    let (_, bob) = caller(&api).await;
    assert_eq!(ann.get(CV).await.0, 404);
    let (status, cv) = ann.send(Method::PUT, CV, &json!({"text": "Rust\r\n\u{7}since 2015"})).await;
    assert_eq!((status, &cv["text"]), (StatusCode::OK, &json!("Rust\nsince 2015")));
    assert_eq!(ann.get(CV).await.1, cv);
    assert_eq!(bob.get(CV).await.0, 404, "it is Ann's");
    // The longest, as JSON may write it: more than other bodies may have.
    let longest = json!({"text": "🦀".repeat(65_536)}).to_string().replace('🦀', "\\ud83e\\udd80");
    let put = |body: String| {
        let request =
            api.request(Method::PUT, CV).bearer_auth(&ann.token).header("content-type", "application/json");
        answer(request.body(body))
    };
    assert_eq!(put(longest.clone()).await.0, 200);
    assert_eq!(ann.get(CV).await.1["text"].as_str().unwrap().chars().count(), 65_536);
    assert_eq!(put(longest.replacen('"', " \"", 1) + &" ".repeat(2_000)).await.0, 413);
    for text in ["", " \n", &"x".repeat(65_537)] {
        assert_eq!(put(json!({ "text": text }).to_string()).await.0, 400);
    }
    assert_eq!(answer(api.request(Method::DELETE, CV).bearer_auth(&ann.token)).await.0, 204);
    assert_eq!(answer(api.request(Method::DELETE, CV).bearer_auth(&ann.token)).await.0, 204);
    assert_eq!(ann.get(CV).await.0, 404);
}

#[tokio::test]
async fn usage_says_what_is_left_and_until_when() {
    let api = Api::start().await;
    let (mut user, ann) = caller(&api).await;
    let _used = reserve(&api.state, &user, &[(Resource::AnswerRequests, 3)]).await.unwrap();
    let usage = ann.get("/api/v1/users/me/usage").await.1;
    let of = |usage: &Value, name: &str| {
        usage["resources"].as_array().unwrap().iter().find(|it| it["resource"] == name).unwrap().clone()
    };
    let expected = json!({"resource": "answer_requests", "used": 3, "limit": 100, "remaining": 97});
    assert_eq!((&usage["plan"], of(&usage, "answer_requests")), (&json!("free"), expected));
    assert!(usage["resets_at"].as_str().unwrap().ends_with("-01T00:00:00.000Z"));

    user = api
        .state
        .records::<User>()
        .update(&user.id, |user| {
            user.plan = Plan::Elite;
            Ok::<_, StoreError>(())
        })
        .await
        .unwrap()
        .record;
    assert_eq!(user.plan, Plan::Elite);
    let usage = ann.get("/api/v1/users/me/usage").await.1;
    let expected = json!({"resource": "answer_requests", "used": 3, "limit": null, "remaining": null});
    assert_eq!(of(&usage, "answer_requests"), expected);
}

#[tokio::test]
async fn an_admin_finds_users_and_changes_their_plan() {
    let api = Api::start().await;
    let (user, ann) = caller(&api).await;
    let (admin, root) = caller(&api).await;
    let find = format!("/api/v1/admin/users?email={}", user.email.to_uppercase());
    let theirs = format!("/api/v1/admin/users/{}", user.id);
    let own = format!("/api/v1/admin/users/{}", admin.id);
    assert_eq!(root.get(&find).await.0, 403, "not an admin yet");
    assert_eq!(root.patch(&own, json!({"admin": true})).await.0, 403);
    let make_admin = |user: &mut User| {
        user.admin = true;
        Ok::<_, StoreError>(())
    };
    api.state.records::<User>().update(&admin.id, make_admin).await.unwrap();

    let (status, found) = root.get(&find).await;
    assert_eq!((status, &found["users"][0]["id"]), (StatusCode::OK, &json!(user.id)));
    assert_eq!(root.get("/api/v1/admin/users?email=no@body.example").await.1, json!({"users": []}));
    assert_eq!(root.get("/api/v1/admin/users").await.0, 400);
    assert_eq!(root.get("/api/v1/admin/users?email=a%00b").await.0, 400, "the store is not asked");

    let mut changes = api.state.cache.subscribe(CHANGED_TOPIC).await.unwrap();
    let (status, changed) = root.patch(&theirs, json!({"plan": "pro"})).await;
    assert_eq!((status, &changed["role"]), (StatusCode::OK, &json!("pro")));
    let heard = tokio::time::timeout(Duration::from_secs(30), changes.next()).await.unwrap();
    let Some(Heard::Message(message)) = heard else { panic!("{heard:?}") };
    let heard: Value = serde_json::from_slice(&message).unwrap();
    assert_eq!(heard, json!({"user_id": user.id}));
    assert_eq!(ann.get(ME).await.1["plan"], "pro");

    assert_eq!(root.patch(&own, json!({"admin": false})).await.0, 409, "somebody must be left");
    assert_eq!(root.patch(&own, json!({"plan": "elite"})).await.1["role"], "admin");
    assert_eq!(root.patch(&theirs, json!({"plan": "gold"})).await.0, 400);
    assert_eq!(root.patch(&theirs, json!({"email": "x@y.example"})).await.0, 400);
    for unknown in ["nobody", "01890a5d-ac96-774b-bcce-b302099a8057", &"x".repeat(300)] {
        let path = format!("/api/v1/admin/users/{unknown}");
        assert_eq!(root.patch(&path, json!({"plan": "pro"})).await.0, 404, "{unknown}");
    }
}

#[tokio::test]
async fn nothing_here_is_for_who_has_not_logged_in() {
    let api = Api::start().await;
    for (method, path) in [
        (Method::GET, ME),
        (Method::PATCH, ME),
        (Method::GET, PREFERENCES),
        (Method::PATCH, PREFERENCES),
        (Method::GET, CV),
        (Method::PUT, CV),
        (Method::DELETE, CV),
        (Method::GET, "/api/v1/users/me/usage"),
        (Method::GET, "/api/v1/admin/users?email=a@b.example"),
        (Method::PATCH, "/api/v1/admin/users/01890a5d-ac96-774b-bcce-b302099a8057"),
    ] {
        for token in ["", "x.y.z"] {
            let request = api.request(method.clone(), path).bearer_auth(token).json(&json!({}));
            assert_eq!(answer(request).await.0, 401, "{method} {path}");
        }
    }
}
