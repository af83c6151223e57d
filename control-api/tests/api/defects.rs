//! The fifteen defects of the original design, and the tests that keep each from coming back.
//!
//! Several are pinned where their feature is tested; this file has the others, and checks that every test of the table is there.
//!
//! | defect | pinned by |
//! |---|---|
//! | 1: `-1` for no limit refuses who pays | `control-api/tests/api/defects.rs::no_limit_is_null_and_never_minus_one` `control-api/tests/api/quotas.rs::no_limit_is_never_reached` |
//! | 2: a quota is read, then counted | `control-api/tests/api/quotas.rs::of_fifty_at_once_five_get_what_is_left_over_sqlite` `control-api/tests/api/quotas.rs::of_fifty_at_once_five_get_what_is_left_over_mongodb` |
//! | 3: rate limits race, and none before login | `control-api/tests/api/limits.rs::of_a_hundred_at_once_exactly_as_many_pass_as_may` `control-api/tests/api/limits.rs::limits_hold_before_login_and_a_false_token_is_none` |
//! | 4: access and refresh tokens pass for each other | `control-api/tests/api/accounts_tokens.rs::access_and_refresh_tokens_do_not_pass_for_each_other` `control-api/tests/api/forged_tokens.rs::no_forged_or_confused_token_is_accepted` |
//! | 5: a refresh retires nothing, a logout does nothing | `control-api/tests/api/accounts_tokens.rs::a_token_that_was_used_before_ends_the_login_and_it_is_announced` `control-api/tests/api/defects.rs::a_logout_takes_both_tokens_and_no_other_login` `tests/accounts.rs::a_live_session_ends_with_its_login` |
//! | 6: sockets open before anybody is known, from any origin | `tests/accounts.rs::no_socket_opens_before_its_caller_is_known` `engine/tests/server.rs::who_is_let_in` `tests/chromium.rs::a_page_of_another_site_is_refused` |
//! | 7: audio without bound, in base64, cut every two seconds: the engine's | `engine/tests/transport_conformance.rs::a_message_over_the_bound_is_refused_before_it_is_kept` `engine/tests/formats.rs::a_kept_file_is_no_way_around_the_length_of_a_session` `engine/tests/long_turns.rs::a_long_turn_is_cut_at_its_pauses_and_stitched` |
//! | 8: three models asked for every window, and nothing streams: the engine's | `engine/tests/conversations.rs::what_is_no_question_is_not_answered` `tests/answer_provider.rs::a_language_model_s_answers_stream_and_add_up` |
//! | 9: the live session has neither profile nor CV | `tests/accounts.rs::a_live_session_knows_the_cv_of_its_account` |
//! | 10: texts are remembered without language and model: the models' | `models/tests/speech_cached.rs::another_request_is_another_text` |
//! | 11: another user's answers differently from a missing one | `control-api/tests/api/matrix.rs::each_route_answers_each_caller_as_the_rule_says` `control-api/tests/api/interviews.rs::another_users_interview_answers_as_a_missing_one` `control-api/tests/api/history.rs::another_users_session_answers_as_a_missing_one` |
//! | 12: the client's word for what a file is; parsing in the request. Uploads come later; until then no route takes a file | `control-api/tests/api/defects.rs::no_route_takes_a_file_yet` `engine/tests/formats.rs::what_is_not_what_it_was_announced_as_is_refused_by_name` |
//! | 13: the end drops the last words, a restart everything: the engine's | `engine/tests/conversations.rs::end_stream_in_mid_word_loses_nothing` `engine/tests/conversations.rs::a_server_that_leaves_finishes_what_was_said` |
//! | 14: `KEYS pattern`; every failure is a 400 with internals | `control-api/tests/api/defects.rs::redis_is_never_asked_for_all_its_keys` `control-api/tests/api/defects.rs::failures_have_the_status_of_their_kind_and_show_nothing_inside` |
//! | 15: registration and login tell who has an account | `control-api/tests/api/accounts.rs::registering_a_known_address_looks_the_same_and_the_mail_says_so` `control-api/tests/api/accounts.rs::unknown_address_and_wrong_password_are_one_answer_that_takes_one_time` `control-api/tests/api/accounts.rs::guessing_is_stopped_alike_for_known_and_unknown_addresses` `control-api/tests/api/accounts.rs::strangers_learn_nothing_from_mails_that_are_asked_for` |

use crate::account;
use crate::api;
use crate::redis_server;
use std::{collections::BTreeSet, fs, path::Path, sync::Arc, time::Duration};

use account::{PASSWORD, bearer, login, registered};
use api::{Api, answer};
use control_api::{
    auth::Login,
    cache::{Cache as _, Limit, RedisCache, RedisConnection},
    storage::{Filter, Record as _, StoreError},
    users::{Cv, Plan, User},
};
use redis_server::RedisServer;
use reqwest::Method;
use serde_json::{Value, json};

#[test]
fn every_defect_is_pinned_by_tests_that_exist() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut pinned = BTreeSet::new();
    let mut tests = 0;
    for row in include_str!("defects.rs").lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let Some((number, rest)) = row.split_once(": ") else { continue };
        let named: Vec<_> = rest.split('`').filter(|it| it.contains(".rs::")).collect();
        assert!(!named.is_empty(), "{number} is pinned by nothing");
        for test in named {
            let (file, name) = test.split_once("::").unwrap();
            let text = fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(is_test(&text, name), "{file} has no test `{name}`");
            tests += 1;
        }
        assert!(pinned.insert(number.parse::<u8>().unwrap()), "{number} twice");
    }
    assert_eq!(pinned, (1..=15).collect());
    println!("15 defects, {tests} tests");
}

/// Whether `text` has a function of this name right behind a test's attributes, and none of them is `#[ignore]`.
fn is_test(text: &str, name: &str) -> bool {
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    let is_it = |line: &&str| {
        line.starts_with(&format!("fn {name}(")) || line.starts_with(&format!("async fn {name}("))
    };
    lines.iter().position(is_it).is_some_and(|at| {
        let attributes = || lines[..at].iter().rev().take_while(|line| line.starts_with("#["));
        let any = |what: &str| attributes().any(|line| line.contains(what));
        (any("#[test]") || any("tokio::test")) && !any("ignore")
    })
}

#[test]
fn a_function_is_no_test_without_its_attribute() {
    let text = "#[test]\nfn one() {}\n\nfn two() {}\n#[tokio::test]\nasync fn three() {}\n#[test]\n#[ignore]\nfn four() {}";
    assert_eq!(
        ["one", "two", "three", "four", "on"].map(|name| is_test(text, name)),
        [true, false, true, false, false]
    );
}

#[tokio::test]
async fn no_limit_is_null_and_never_minus_one() {
    let api = Api::start().await;
    let (user, token) = api.user().await;
    let mut unlimited = 0;
    for plan in [Plan::Free, Plan::Pro, Plan::Elite] {
        let change = |user: &mut User| {
            user.plan = plan;
            Ok::<_, StoreError>(())
        };
        api.state.records::<User>().update(&user.id, change).await.unwrap();
        let (status, usage) = answer(api.get("/api/v1/users/me/usage").bearer_auth(&token)).await;
        assert_eq!(status, 200);
        for resource in usage["resources"].as_array().unwrap() {
            let (limit, remaining) = (&resource["limit"], &resource["remaining"]);
            assert_eq!(limit.is_null(), remaining.is_null(), "{resource}");
            assert!(limit.is_null() || limit.as_i64().unwrap() >= 0, "{resource}");
            assert!(remaining.is_null() || remaining.as_i64().unwrap() >= 0, "{resource}");
            unlimited += usize::from(limit.is_null());
        }
    }
    assert!(unlimited > 0, "some plan has no limit of something");
}

#[tokio::test]
async fn a_logout_takes_both_tokens_and_no_other_login() {
    let api = Api::start().await;
    let phone = registered(&api, "ann@example.org").await;
    let (_, laptop) = login(&api, "ann@example.org", PASSWORD).await;
    let me = |pair: &Value| answer(bearer(api.get("/api/v1/users/me"), pair));
    let refresh = |pair: &Value| {
        answer(api.post("/api/v1/auth/refresh", &json!({"refresh_token": pair["refresh_token"]})))
    };
    assert_eq!(answer(bearer(api.post("/api/v1/auth/logout", &json!({})), &phone)).await.0, 204);
    assert_eq!(
        (me(&phone).await.0, refresh(&phone).await.0),
        (401.try_into().unwrap(), 401.try_into().unwrap())
    );
    assert_eq!(
        (me(&laptop).await.0, refresh(&laptop).await.0),
        (200.try_into().unwrap(), 200.try_into().unwrap())
    );
}

#[tokio::test]
async fn no_route_takes_a_file_yet() {
    let api = Api::start().await;
    let (_, document) = answer(api.get("/api/v1/openapi.json")).await;
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    let bodies: Vec<_> =
        operations.filter_map(|operation| operation["requestBody"]["content"].as_object()).collect();
    assert!(bodies.len() >= 10, "{}", bodies.len());
    for body in bodies {
        // Whoever adds another kind: tell it by its bytes, read it in a job, and pin both here.
        assert_eq!(body.keys().collect::<Vec<_>>(), ["application/json"]);
    }
    let (_, token) = api.user().await;
    for kind in [
        "multipart/form-data; boundary=x",
        "application/pdf",
        "text/plain",
        "application/x-www-form-urlencoded",
    ] {
        let put = api.request(Method::PUT, "/api/v1/users/me/cv").bearer_auth(&token);
        let (status, _) = answer(put.header("content-type", kind).body(r#"{"text": "A CV"}"#)).await;
        assert_eq!(status, 415, "{kind}");
    }
}

#[tokio::test]
async fn redis_is_never_asked_for_all_its_keys() {
    let Some(server) = RedisServer::start().await else { return };
    let cache = RedisCache::new(RedisConnection::new(&server.url()).unwrap());
    let hour = Duration::from_secs(3_600);
    for n in 0..300 {
        cache.set(&format!("user:1:{n}"), "x".into(), hour).await.unwrap();
    }
    cache.get("user:1:0").await.unwrap();
    cache.limit("user:1:limit", Limit::new(5, hour).unwrap()).await.unwrap();
    cache.take("user:1:1").await.unwrap();
    assert!(cache.delete_prefix("user:1:").await.unwrap() >= 298);
    let commands = server.type_in("INFO commandstats");
    assert!(commands.contains("cmdstat_scan:"), "it goes through them in steps: {commands}");
    assert!(!commands.contains("cmdstat_keys:"), "KEYS stops all of Redis: {commands}");
}

#[tokio::test]
async fn failures_have_the_status_of_their_kind_and_show_nothing_inside() {
    let cache = "redis://:s3cret-word@127.0.0.1:1/0".to_owned().into();
    let cache = RedisCache::new(RedisConnection::new(&cache).unwrap());
    let api = Api::start_with(|state| state.cache = Arc::new(cache)).await;
    let (user, token) = api.user().await;
    let ask =
        |method: Method, path: &str| api.request(method, &format!("/api/v1/{path}")).bearer_auth(&token);
    let damaged = json!({"canary": "s3cret-word"}).as_object().unwrap().clone();
    api.state.store.insert(Cv::SCHEMA, &user.id, damaged).await.unwrap();
    let other = "01890a5d-ac96-774b-bcce-b302099a8057";
    let credentials = json!({"email": user.email, "password": PASSWORD});
    for (name, request, expected) in [
        ("what is damaged", ask(Method::GET, "users/me/cv"), 500),
        ("a cache that is away", api.post("/api/v1/auth/login", &credentials), 503),
        ("what is not there", ask(Method::GET, &format!("interviews/{other}")), 404),
        ("what is no id", ask(Method::GET, "interviews/' OR 1=1 --"), 404),
        ("what is not known", ask(Method::GET, "nothing"), 404),
        ("who is not known", api.get("/api/v1/users/me"), 401),
        ("who may not", ask(Method::GET, "admin/users?email=ann@example.org"), 403),
        ("no such method", ask(Method::PUT, "interviews"), 405),
        ("no JSON", ask(Method::POST, "interviews").header("content-type", "text/plain").body("x"), 415),
        ("too much", ask(Method::POST, "interviews").json(&json!({"title": "x".repeat(100_000)})), 413),
        ("what is wrong", ask(Method::POST, "interviews").json(&json!({"title": ""})), 400),
    ] {
        let (status, body) = answer(request).await;
        assert_eq!((status.as_u16(), &body["statusCode"]), (expected, &json!(expected)), "{name}: {body}");
        let told = body["detail"].as_str().unwrap().to_lowercase();
        assert!(told.len() > 10, "{name} is said: {told}");
        let text = body.to_string().to_lowercase();
        for inside in
            ["s3cret", "canary", "127.0.0.1", "redis", "sqlite", "select ", "panicked", ".rs", "serde"]
        {
            assert!(!text.contains(inside), "{name} shows `{inside}`: {text}");
        }
    }
    // And the login that was there still is.
    assert_eq!(
        api.state.records::<Login>().count(&Filter::all().eq("user_id", user.id.as_str())).await,
        Ok(1)
    );
}
