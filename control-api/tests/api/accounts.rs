//! Accounts over a real socket: registered, confirmed, entered, left; what strangers learn; forgotten and changed passwords.
//!
//! Not here: refresh tokens (`accounts_tokens.rs`), erasing (`accounts_erasure.rs`).

use crate::account;
use crate::api;
use std::{net::TcpListener, sync::Arc, time::Instant};

use account::{PASSWORD, bearer, login, register, registered, token_in};
use api::{Api, answer};
use control_api::{
    auth::{Login, OneTimeToken, Registration},
    cache::{RedisCache, RedisConnection},
    storage::Filter,
    users::User,
};
use futures_util::future::join_all;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

#[tokio::test]
async fn an_account_is_made_confirmed_entered_refreshed_and_left() {
    let api = Api::start().await;
    let (status, said) = answer(register(&api, " Ann@Example.org ")).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{said}");
    let (subject, text) = api.outbox.mail_to("ann@example.org", 0).await;
    assert_eq!(subject, "Confirm your address");
    assert_eq!(login(&api, "ann@example.org", PASSWORD).await.0, StatusCode::FORBIDDEN, "not confirmed yet");
    let wrong = login(&api, "ann@example.org", "Wrong-horse-1").await;
    assert_eq!(wrong.0, StatusCode::UNAUTHORIZED, "who does not know the password is not told that it waits");

    let token = token_in(&text);
    let verify = || answer(api.post("/api/v1/auth/verify-email", &json!({"token": token})));
    assert_eq!(verify().await.0, StatusCode::OK);
    assert_eq!(verify().await.0, StatusCode::BAD_REQUEST, "it works once");

    let (status, pair) = login(&api, "ANN@example.org", PASSWORD).await;
    assert_eq!(status, StatusCode::OK, "{pair}");
    assert_eq!((&pair["token_type"], &pair["expires_in"]), (&json!("Bearer"), &json!(900)));
    assert!((604_790..=604_800).contains(&pair["refresh_expires_in"].as_i64().unwrap()));
    let (status, sessions) = answer(bearer(api.get("/api/v1/auth/sessions"), &pair)).await;
    assert_eq!((status, sessions["sessions"][0]["current"].as_bool()), (StatusCode::OK, Some(true)));

    let request = json!({"refresh_token": pair["refresh_token"]});
    let (status, next) = answer(api.post("/api/v1/auth/refresh", &request)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(answer(bearer(api.get("/api/v1/auth/sessions"), &next)).await.0, StatusCode::OK);

    let logout = bearer(api.request(Method::POST, "/api/v1/auth/logout"), &next);
    assert_eq!(answer(logout).await, (StatusCode::NO_CONTENT, Value::Null));
    for pair in [&pair, &next] {
        let (status, _) = answer(bearer(api.get("/api/v1/auth/sessions"), pair)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "at once, though the token has minutes left");
        let request = json!({"refresh_token": pair["refresh_token"]});
        assert_eq!(answer(api.post("/api/v1/auth/refresh", &request)).await.0, StatusCode::UNAUTHORIZED);
    }
    let user = api.state.records::<User>().find_one(of_ann()).await;
    let user = user.unwrap().unwrap();
    assert!(user.email_verified && user.preferences.language == "de" && user.first_name == "Ann");
}

fn of_ann() -> Filter {
    Filter::all().eq("email", "ann@example.org").without("deleted_at")
}

#[tokio::test]
async fn registering_a_known_address_looks_the_same_and_the_mail_says_so() {
    let api = Api::start().await;
    registered(&api, "ann@example.org").await;
    let known = answer(register(&api, "ann@example.org")).await;
    let unknown = answer(register(&api, "bob@example.org")).await;
    assert_eq!(known, unknown);
    let (subject, text) = api.outbox.mail_to("ann@example.org", 1).await;
    assert_eq!(subject, "You already have an account");
    assert!(!text.contains("token="), "it opens nothing");
    let (subject, _) = api.outbox.mail_to("bob@example.org", 0).await;
    assert_eq!(subject, "Confirm your address");
    assert_eq!(login(&api, "ann@example.org", PASSWORD).await.0, StatusCode::OK, "the account is as it was");
}

#[tokio::test]
async fn who_registers_with_the_address_of_another_gains_nothing() {
    let api = Api::start().await;
    let mut theirs = account::registration("ann@example.org");
    theirs["password"] = json!("Attackers-1");
    assert_eq!(answer(api.post("/api/v1/auth/register", &theirs)).await.0, StatusCode::ACCEPTED);
    api.outbox.mail_to("ann@example.org", 0).await;
    assert_eq!(answer(register(&api, "ann@example.org")).await.0, StatusCode::ACCEPTED);
    let (_, text) = api.outbox.mail_to("ann@example.org", 1).await;
    let verify = json!({"token": token_in(&text)});
    assert_eq!(answer(api.post("/api/v1/auth/verify-email", &verify)).await.0, StatusCode::OK);
    assert_eq!(login(&api, "ann@example.org", "Attackers-1").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(login(&api, "ann@example.org", PASSWORD).await.0, StatusCode::OK);
    let (_, first) = api.outbox.mail_to("ann@example.org", 0).await;
    let verify = json!({"token": token_in(&first)});
    assert_eq!(answer(api.post("/api/v1/auth/verify-email", &verify)).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(
        api.state.records::<Registration>().count(&Filter::all().eq("email", "ann@example.org")).await,
        Ok(0)
    );
}

#[tokio::test]
async fn a_registration_that_is_not_as_it_must_be_is_refused_by_field() {
    let api = Api::start().await;
    let check = async |field: &str, value: Value| {
        let mut body = account::registration("ann@example.org");
        body[field] = value;
        let (status, problem) = answer(api.post("/api/v1/auth/register", &body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{field}: {problem}");
        let named = format!("{} {}", problem["detail"], problem["errors"]);
        assert!(named.contains(field), "{problem}");
    };
    check("email", json!("ann")).await;
    check("email", json!(format!("{}@example.org", "x".repeat(250)))).await;
    check("password", json!("short-1")).await;
    check("password", json!("alllowercase-1")).await;
    check("first_name", json!("  ")).await;
    check("first_name", json!("a\nb")).await;
    check("last_name", json!("x".repeat(101))).await;
    check("language", json!("english")).await;
    check("terms_accepted", json!(false)).await;
    check("role", json!("admin")).await;
}

#[tokio::test]
async fn of_fifty_uses_of_a_link_one_works() {
    let api = Api::start().await;
    assert_eq!(answer(register(&api, "ann@example.org")).await.0, StatusCode::ACCEPTED);
    let (_, text) = api.outbox.mail_to("ann@example.org", 0).await;
    let verify = json!({"token": token_in(&text)});
    let uses = (0..50).map(|_| answer(api.post("/api/v1/auth/verify-email", &verify)));
    let answers = join_all(uses).await;
    let count = |status| answers.iter().filter(|(got, _)| *got == status).count();
    assert_eq!((count(StatusCode::OK), count(StatusCode::BAD_REQUEST)), (1, 49));
}

#[tokio::test]
async fn a_link_is_good_for_one_purpose_and_for_a_while() {
    let api = Api::start().await;
    registered(&api, "ann@example.org").await;
    let reset = async |nth| {
        let forgot = json!({"email": "ann@example.org"});
        assert_eq!(answer(api.post("/api/v1/auth/forgot-password", &forgot)).await.0, StatusCode::ACCEPTED);
        token_in(&api.outbox.mail_to("ann@example.org", nth).await.1)
    };
    let token = reset(1).await;
    let verify = json!({"token": token});
    assert_eq!(answer(api.post("/api/v1/auth/verify-email", &verify)).await.0, StatusCode::BAD_REQUEST);
    let body = json!({"token": token, "password": "Another-horse-2"});
    assert_eq!(answer(api.post("/api/v1/auth/reset-password", &body)).await.0, StatusCode::OK, "not used up");

    let token = reset(2).await;
    let tokens = api.state.records::<OneTimeToken>();
    let user = login(&api, "ann@example.org", "Another-horse-2").await.1;
    let user = account::user_id(&user);
    let mut kept = tokens.find_one(Filter::all().eq("user_id", user)).await.unwrap().unwrap();
    assert!(!format!("{kept:?}").contains(&kept.id) && kept.id != token, "only its hash is kept");
    kept.record.expires_at = 1;
    // The store may sweep it just now: gone is over, too.
    let _ = tokens.replace(&mut kept).await;
    let body = json!({"token": token, "password": "Third-horse-3"});
    assert_eq!(answer(api.post("/api/v1/auth/reset-password", &body)).await.0, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn strangers_learn_nothing_from_mails_that_are_asked_for() {
    let api = Api::start().await;
    registered(&api, "ann@example.org").await;
    for path in ["/api/v1/auth/forgot-password", "/api/v1/auth/verify-email/resend"] {
        let known = answer(api.post(path, &json!({"email": "ann@example.org"}))).await;
        let unknown = answer(api.post(path, &json!({"email": "nobody@example.org"}))).await;
        assert_eq!((known.0, &known), (StatusCode::ACCEPTED, &unknown));
    }
    api.outbox.mail_to("ann@example.org", 1).await;
    assert_eq!(api.outbox.count_to("nobody@example.org"), 0);
    assert_eq!(api.outbox.count_to("ann@example.org"), 2, "a confirmed address is not confirmed again");
}

#[tokio::test]
async fn a_link_can_be_sent_again_but_not_without_end() {
    let api = Api::start().await;
    assert_eq!(answer(register(&api, "ann@example.org")).await.0, StatusCode::ACCEPTED);
    for _ in 0..8 {
        let resend = json!({"email": "ann@example.org"});
        assert_eq!(
            answer(api.post("/api/v1/auth/verify-email/resend", &resend)).await.0,
            StatusCode::ACCEPTED
        );
    }
    // A mail to another one comes after those of the first.
    assert_eq!(answer(register(&api, "bob@example.org")).await.0, StatusCode::ACCEPTED);
    api.outbox.mail_to("bob@example.org", 0).await;
    let (_, text) = api.outbox.mail_to("ann@example.org", 4).await;
    assert_eq!(api.outbox.count_to("ann@example.org"), 5);
    let verify = json!({"token": token_in(&text)});
    assert_eq!(answer(api.post("/api/v1/auth/verify-email", &verify)).await.0, StatusCode::OK);
}

#[tokio::test]
async fn unknown_address_and_wrong_password_are_one_answer_that_takes_one_time() {
    let api = Api::start().await;
    registered(&api, "ann@example.org").await;
    let mut times = [Vec::new(), Vec::new()];
    let mut answers = Vec::new();
    for _ in 0..9 {
        for (times, address) in times.iter_mut().zip(["ann@example.org", "nobody@example.org"]) {
            let begun = Instant::now();
            let (status, mut problem) = login(&api, address, "Wrong-horse-1").await;
            times.push(begun.elapsed());
            problem.as_object_mut().unwrap().remove("timestamp");
            answers.push((status, problem));
        }
    }
    assert_eq!(answers[0].0, StatusCode::UNAUTHORIZED);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let [known, unknown] = times.map(|mut times| {
        times.sort();
        times[times.len() / 2]
    });
    // A missing hash would be a factor of ten.
    assert!(known < unknown * 3 && unknown < known * 3, "{known:?} {unknown:?}");
}

#[tokio::test]
async fn guessing_is_stopped_alike_for_known_and_unknown_addresses() {
    let api = Api::start().await;
    registered(&api, "ann@example.org").await;
    // She has logged in once.
    for (address, tries) in [("ann@example.org", 9), ("nobody@example.org", 10)] {
        for _ in 0..tries {
            assert_eq!(login(&api, address, "Wrong-horse-1").await.0, StatusCode::UNAUTHORIZED);
        }
        let body = json!({"email": address, "password": PASSWORD});
        let response = api.post("/api/v1/auth/login", &body).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS, "the right one, too");
        let pause: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=90).contains(&pause), "{pause}");
    }
    assert_eq!(login(&api, "bob@example.org", PASSWORD).await.0, StatusCode::UNAUTHORIZED, "others go on");
}

#[tokio::test]
async fn a_bcrypt_hash_of_the_original_design_opens_and_becomes_argon2id() {
    let api = Api::start().await;
    registered(&api, "ann@example.org").await;
    let users = api.state.records::<User>();
    let mut ann = users.find_one(of_ann()).await.unwrap().unwrap();
    let old = bcrypt::hash_with_result("Old-password-1", 6).unwrap();
    ann.record.password_hash = Some(old.format_for_version(bcrypt::Version::TwoB));
    users.replace(&mut ann).await.unwrap();
    assert_eq!(login(&api, "ann@example.org", "Wrong-horse-1").await.0, StatusCode::UNAUTHORIZED);
    let kept = users.find_one(of_ann()).await.unwrap().unwrap();
    assert!(kept.password_hash.as_ref().unwrap().starts_with("$2b$"), "a wrong one changes nothing");
    for _ in 0..2 {
        assert_eq!(login(&api, "ann@example.org", "Old-password-1").await.0, StatusCode::OK);
        let kept = users.find_one(of_ann()).await.unwrap().unwrap();
        assert!(kept.password_hash.as_ref().unwrap().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    }
}

#[tokio::test]
async fn a_forgotten_password_is_set_anew_and_every_login_ends() {
    let api = Api::start().await;
    let pair = registered(&api, "ann@example.org").await;
    let mut links = Vec::new();
    for nth in 1..=2 {
        let forgot = json!({"email": "ann@example.org"});
        assert_eq!(answer(api.post("/api/v1/auth/forgot-password", &forgot)).await.0, StatusCode::ACCEPTED);
        let (subject, text) = api.outbox.mail_to("ann@example.org", nth).await;
        assert_eq!(subject, "Set a new password");
        links.push(token_in(&text));
    }
    let reset = async |token: &str, password: &str| {
        let body = json!({"token": token, "password": password});
        answer(api.post("/api/v1/auth/reset-password", &body)).await.0
    };
    assert_eq!(reset(&links[0], "weak").await, StatusCode::BAD_REQUEST, "and the link is not used up");
    let (one, other) = tokio::join!(reset(&links[0], "Another-horse-2"), reset(&links[0], "Another-horse-2"));
    assert!([one, other].contains(&StatusCode::OK) && one != other, "{one} {other}");
    assert_eq!(
        reset(&links[1], "Third-horse-3").await,
        StatusCode::BAD_REQUEST,
        "it was for the old password"
    );
    assert_eq!(reset("x", "Third-horse-3").await, StatusCode::BAD_REQUEST);
    let (status, _) = answer(bearer(api.get("/api/v1/auth/sessions"), &pair)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert_eq!(login(&api, "ann@example.org", PASSWORD).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(login(&api, "ann@example.org", "Another-horse-2").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_changed_password_ends_the_other_logins() {
    let api = Api::start().await;
    let other = registered(&api, "ann@example.org").await;
    let (_, this) = login(&api, "ann@example.org", PASSWORD).await;
    let change = async |current: &str, new: &str| {
        let body = json!({"current_password": current, "new_password": new});
        answer(bearer(api.post("/api/v1/auth/change-password", &body), &this)).await.0
    };
    assert_eq!(change("Wrong-horse-1", "Another-horse-2").await, StatusCode::FORBIDDEN);
    assert_eq!(change(PASSWORD, "weak").await, StatusCode::BAD_REQUEST);
    assert_eq!(change(PASSWORD, "Another-horse-2").await, StatusCode::NO_CONTENT);
    let works = async |pair: &Value| answer(bearer(api.get("/api/v1/auth/sessions"), pair)).await.0;
    assert_eq!((works(&this).await, works(&other).await), (StatusCode::OK, StatusCode::UNAUTHORIZED));
    assert_eq!(login(&api, "ann@example.org", PASSWORD).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(login(&api, "ann@example.org", "Another-horse-2").await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_login_with_the_old_password_just_when_it_is_changed_does_not_stay() {
    let api = Api::start().await;
    let this = registered(&api, "ann@example.org").await;
    let passwords: Vec<_> = (0..8).map(|n| format!("Correct-horse-{}", n + 1)).collect();
    for change in passwords.windows(2) {
        let body = json!({"current_password": change[0], "new_password": change[1]});
        let changing = answer(bearer(api.post("/api/v1/auth/change-password", &body), &this));
        let (changed, (status, pair)) = tokio::join!(changing, login(&api, "ann@example.org", &change[0]));
        assert_eq!(changed.0, StatusCode::NO_CONTENT);
        if status == StatusCode::OK {
            let (status, _) = answer(bearer(api.get("/api/v1/auth/sessions"), &pair)).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED);
        }
    }
}

#[tokio::test]
async fn logins_are_listed_and_ended_by_their_user_only() {
    let api = Api::start().await;
    let first = registered(&api, "ann@example.org").await;
    let body = json!({"email": "ann@example.org", "password": PASSWORD});
    let request = api.post("/api/v1/auth/login", &body).header("user-agent", "x".repeat(999));
    let (_, second) = answer(request).await;
    let bob = registered(&api, "bob@example.org").await;
    let list = async |pair: &Value| answer(bearer(api.get("/api/v1/auth/sessions"), pair)).await;
    let (_, listed) = list(&second).await;
    let listed = listed["sessions"].as_array().unwrap().clone();
    assert_eq!(
        listed.iter().map(|login| login["current"].as_bool().unwrap()).collect::<Vec<_>>(),
        [true, false]
    );
    assert_eq!(listed[0]["user_agent"].as_str().unwrap().len(), 200);
    let end = async |id: &str, pair: &Value| {
        let request = api.request(Method::DELETE, &format!("/api/v1/auth/sessions/{id}"));
        answer(bearer(request, pair)).await.0
    };
    let id = listed[1]["id"].as_str().unwrap();
    assert_eq!(end(id, &bob).await, StatusCode::NOT_FOUND, "another's is not there");
    assert_eq!(end("x", &bob).await, StatusCode::NOT_FOUND);
    assert_eq!(end(&"x".repeat(300), &bob).await, StatusCode::NOT_FOUND);
    assert_eq!(end(id, &second).await, StatusCode::NO_CONTENT);
    assert_eq!(end(id, &second).await, StatusCode::NOT_FOUND);
    assert_eq!(list(&first).await.0, StatusCode::UNAUTHORIZED);
    let all = bearer(api.request(Method::POST, "/api/v1/auth/logout-all"), &second);
    assert_eq!(answer(all).await.0, StatusCode::NO_CONTENT);
    assert_eq!((list(&second).await.0, list(&bob).await.0), (StatusCode::UNAUTHORIZED, StatusCode::OK));
}

#[tokio::test]
async fn a_crowd_at_the_door_is_asked_to_come_again() {
    let api = Api::start_with(|state| state.passwords = control_api::auth::Passwords::new(1, 2)).await;
    let crowd = (0..20).map(|n| {
        let body = json!({"email": format!("{n}@example.org"), "password": PASSWORD});
        api.post("/api/v1/auth/login", &body).send()
    });
    let answers = join_all(crowd).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    let (busy, served): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status() == StatusCode::SERVICE_UNAVAILABLE);
    assert!(!busy.is_empty() && busy.iter().all(|answer| answer.headers()["retry-after"] == "2"));
    assert!(!served.is_empty() && served.iter().all(|answer| answer.status() == StatusCode::UNAUTHORIZED));
}

#[tokio::test]
async fn nobody_may_guess_while_nobody_counts() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let nowhere = RedisConnection::new(&format!("redis://127.0.0.1:{port}").into()).unwrap();
    let api = Api::start_with(|state| state.cache = Arc::new(RedisCache::new(nowhere))).await;
    let body = json!({"email": "ann@example.org", "password": PASSWORD});
    let response = api.post("/api/v1/auth/login", &body).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn nothing_that_is_kept_is_a_password_or_a_token() {
    let api = Api::start().await;
    let pair = registered(&api, "ann@example.org").await;
    let user = account::user_id(&pair);
    let login =
        api.state.records::<Login>().find_one(Filter::all().eq("user_id", &*user)).await.unwrap().unwrap();
    let kept = serde_json::to_string(&login.record).unwrap();
    let secret = pair["refresh_token"].as_str().unwrap().split_once('.').unwrap().1;
    assert!(!kept.contains(secret), "{kept}");
    let user = api.state.records::<User>().get(&user).await.unwrap().unwrap();
    assert!(!serde_json::to_string(&user.record).unwrap().contains(PASSWORD));
}
