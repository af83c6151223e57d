//! History as the bridge writes it and users read it, over a real socket and a real SQLite file.
//!
//! Not here: exports (`export.rs`), the live session that is written down.

use crate::api;
use crate::written;
use api::{Api, answer};
use control_api::{
    ApiState,
    history::{AnswerRecord, HistoryError, SessionHistory, SessionRecord, TurnRecord},
    interviews::Interview,
    storage::Filter,
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use written::{BEGAN, answer_to, begin, turn};

const PATH: &str = "/api/v1/history";

async fn get(api: &Api, token: &str, path: &str) -> Value {
    let (status, body) = answer(api.get(path).bearer_auth(token)).await;
    assert_eq!(status, StatusCode::OK, "{path}: {body}");
    body
}

/// Ids of the user's sessions, as listed.
async fn listed(api: &Api, token: &str) -> Vec<String> {
    let page = get(api, token, &format!("{PATH}?limit=50")).await;
    page["items"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
}

async fn delete(api: &Api, token: &str, path: &str) -> StatusCode {
    answer(api.request(Method::DELETE, path).bearer_auth(token)).await.0
}

/// How many records there are, of all users.
async fn records(state: &ApiState) -> (u64, u64, u64) {
    let all = Filter::all();
    let sessions = state.records::<SessionRecord>().count(&all).await.unwrap();
    let turns = state.records::<TurnRecord>().count(&all).await.unwrap();
    (sessions, turns, state.records::<AnswerRecord>().count(&all).await.unwrap())
}

#[tokio::test]
async fn a_session_is_kept_and_shown_in_full_though_each_step_is_done_twice() {
    let api = Api::start().await;
    let (user, token) = api.user().await;
    let interview = Interview {
        id: "0197b0c2-0000-7000-8000-000000000001".to_owned(),
        user_id: user.id.clone(),
        title: "Backend".to_owned(),
        company: String::new(),
        position: String::new(),
        job_description: String::new(),
        created_at: 0,
    };
    api.state.records().insert(&interview).await.unwrap();
    let history = SessionHistory::new(&api.state);
    let mut beginning = begin("mock-1", &user.id, BEGAN);
    beginning.interview_id = Some(&interview.id);
    let mut session = None;
    for _ in 0..2 {
        let kept = history.begin(&beginning).await.unwrap();
        assert!(session.replace(kept.clone()).is_none_or(|before| before == kept));
        history.turn(&kept, &turn(1, "interviewer", "Why Rust?", 480)).await.unwrap();
        history.answer(&kept, &answer_to(1, 1, "It is fast")).await.unwrap();
        history.turn(&kept, &turn(3, "candidate", "It is fast.", 3_000)).await.unwrap();
        history.answer(&kept, &answer_to(2, 1, "It is safe")).await.unwrap();
        history.answer(&kept, &answer_to(3, 1, "superseded")).await.unwrap();
        history.withdraw_answer(&kept, 3).await.unwrap();
        history.answer(&kept, &answer_to(4, 0, "to nobody")).await.unwrap();
    }
    let session = session.unwrap();
    let ids = listed(&api, &token).await;
    let live = get(&api, &token, &format!("{PATH}/{}", ids[0])).await;
    assert_eq!(live["session"]["ended_at"], Value::Null);
    for at in [BEGAN + 61_000, BEGAN + 99_000] {
        history.end(&session, "client", 61_240, at).await.unwrap();
    }

    let [id] = &ids[..] else { panic!("one session: {ids:?}") };
    let about = json!({
        "id": id,
        "session_id": "mock-1",
        "interview_id": interview.id,
        "interview_title": "Backend",
        "language": "en",
        "started_at": "2026-11-23T20:15:00.000Z",
        "ended_at": "2026-11-23T20:16:01.000Z",
        "end_reason": "client",
        "audio_ms": 61_240,
        "turns": 2,
        "answers": 3,
    });
    let page = get(&api, &token, PATH).await;
    assert_eq!(page, json!({"items": [about], "next": null}));
    let detail = get(&api, &token, &format!("{PATH}/{id}")).await;
    assert_eq!((&detail["session"], &detail["next"]), (&about, &Value::Null));
    let turns = detail["turns"].as_array().unwrap();
    let summary: Vec<_> = turns.iter().map(|turn| (&turn["turn"], &turn["role"], &turn["text"])).collect();
    assert_eq!(json!(summary), json!([[1, "interviewer", "Why Rust?"], [3, "candidate", "It is fast."]]));
    assert_eq!((&turns[0]["start_ms"], &turns[0]["end_ms"]), (&json!(480), &json!(2_480)));
    let expected = json!([answer_to(1, 1, "It is fast"), answer_to(2, 1, "It is safe")]);
    assert_eq!(turns[0]["answers"], expected, "with sources and receipt");
    assert_eq!(detail["other_answers"], json!([answer_to(4, 0, "to nobody")]));
}

#[tokio::test]
async fn a_name_chosen_twice_is_two_sessions_whoever_chose_it() {
    let api = Api::start().await;
    let (ann, ann_token) = api.user().await;
    let (bob, bob_token) = api.user().await;
    let history = SessionHistory::new(&api.state);
    let of_ann = history.begin(&begin("mock-1", &ann.id, BEGAN)).await.unwrap();
    let mut beginning = begin("mock-1", &bob.id, BEGAN);
    // Ann's interview, or none: it is not Bob's.
    beginning.interview_id = Some("0197b0c2-0000-7000-8000-000000000001");
    let of_bob = history.begin(&beginning).await.unwrap();
    assert_ne!(of_ann, of_bob);
    history.turn(&of_ann, &turn(1, "interviewer", "for Ann", 0)).await.unwrap();
    history.turn(&of_bob, &turn(1, "interviewer", "for Bob", 0)).await.unwrap();
    for (token, text) in [(&ann_token, "for Ann"), (&bob_token, "for Bob")] {
        let ids = listed(&api, token).await;
        let detail = get(&api, token, &format!("{PATH}/{}", ids[0])).await;
        assert_eq!((ids.len(), &detail["turns"][0]["text"]), (1, &json!(text)));
        assert_eq!(detail["session"]["interview_id"], Value::Null);
    }
    let again = history.begin(&begin("mock-1", &ann.id, BEGAN + 2)).await.unwrap();
    assert_ne!(again, of_ann, "its client came back, and numbers its turns anew");
    history.turn(&again, &turn(1, "interviewer", "again for Ann", 0)).await.unwrap();
    assert_eq!(listed(&api, &ann_token).await.len(), 2);
}

#[tokio::test]
async fn another_users_session_answers_as_a_missing_one() {
    let api = Api::start().await;
    let (ann, ann_token) = api.user().await;
    let (_, bob) = api.user().await;
    let history = SessionHistory::new(&api.state);
    let session = history.begin(&begin("mock-1", &ann.id, BEGAN)).await.unwrap();
    history.turn(&session, &turn(1, "interviewer", "Why Rust?", 0)).await.unwrap();
    let id = listed(&api, &ann_token).await.remove(0);
    for (method, end) in [(Method::GET, ""), (Method::GET, "/export?format=txt"), (Method::DELETE, "")] {
        let mut answers = Vec::new();
        for id in [&id, "0197b0c2-0000-7000-8000-000000000009", "no-id", "a%00b", &"i".repeat(300)] {
            let request = api.request(method.clone(), &format!("{PATH}/{id}{end}"));
            let (status, mut body) = answer(request.bearer_auth(&bob)).await;
            body["timestamp"].take();
            body["path"].take();
            answers.push((status, body));
        }
        assert_eq!(answers[0].0, StatusCode::NOT_FOUND);
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{method} {end}: {answers:?}");
        let anonymous = api.request(method.clone(), &format!("{PATH}/{id}{end}"));
        assert_eq!(answer(anonymous).await.0, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(get(&api, &bob, &format!("{PATH}/search?q=rust")).await["items"], json!([]));
    assert_eq!(delete(&api, &bob, PATH).await, StatusCode::NO_CONTENT);
    assert_eq!(listed(&api, &ann_token).await, [id]);
    assert_eq!(records(&api.state).await, (1, 1, 0));
}

#[tokio::test]
async fn a_long_session_comes_in_pages_that_hold_each_turn_and_answer_once() {
    let api = Api::start().await;
    let (user, token) = api.user().await;
    let history = SessionHistory::new(&api.state);
    let session = history.begin(&begin("long", &user.id, BEGAN)).await.unwrap();
    for n in 1..=1_150 {
        // Every tenth turn had no words.
        if n % 10 != 0 {
            let text = if n == 1 { "the needle" } else { "hay" };
            history.turn(&session, &turn(n, "interviewer", text, n * 1_000)).await.unwrap();
        }
        if n % 50 == 0 || n % 50 == 1 {
            history.answer(&session, &answer_to(n, n, "text")).await.unwrap();
        }
    }
    let id = listed(&api, &token).await.remove(0);
    let (mut turns, mut answers, mut pages, mut cursor) = (Vec::new(), Vec::new(), 0, String::new());
    loop {
        let page = get(&api, &token, &format!("{PATH}/{id}{cursor}")).await;
        pages += 1;
        for turn in page["turns"].as_array().unwrap() {
            turns.push(turn["turn"].as_u64().unwrap());
            for answer in turn["answers"].as_array().unwrap() {
                assert_eq!(answer["turn"], turn["turn"]);
                answers.push(answer["answer_id"].as_u64().unwrap());
            }
        }
        let others = page["other_answers"].as_array().unwrap();
        answers.extend(others.iter().map(|answer| answer["answer_id"].as_u64().unwrap()));
        match page["next"].as_str() {
            Some(next) => cursor = format!("?cursor={next}"),
            None => break,
        }
    }
    answers.sort();
    assert_eq!(pages, 2);
    assert_eq!(turns, (1..=1_150).filter(|n| n % 10 != 0).collect::<Vec<_>>());
    assert_eq!(answers, (1..=1_150).filter(|n| n % 50 == 0 || n % 50 == 1).collect::<Vec<_>>());
    for query in ["cursor=x", "cursor=W251bGwsImEiXQ", "what=1"] {
        let (status, _) = answer(api.get(&format!("{PATH}/{id}?{query}")).bearer_auth(&token)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
    }

    // With these, there is more than one request's work.
    let newer = history.begin(&begin("hay", &user.id, BEGAN + 1)).await.unwrap();
    for n in 1..=1_100 {
        history.turn(&newer, &turn(n, "candidate", "hay", n)).await.unwrap();
    }
    let first = get(&api, &token, &format!("{PATH}/search?q=NEEDLE")).await;
    assert_eq!(first["items"], json!([]), "the newest was read, and not all");
    let next = first["next"].as_str().unwrap();
    let second = get(&api, &token, &format!("{PATH}/search?q=NEEDLE&cursor={next}")).await;
    assert_eq!((&second["items"][0]["turn"], &second["next"]), (&json!(1), &Value::Null));
}

#[tokio::test]
async fn search_finds_turns_and_answers_that_have_all_words_in_any_case() {
    let api = Api::start().await;
    let (user, token) = api.user().await;
    let history = SessionHistory::new(&api.state);
    let old = history.begin(&begin("old", &user.id, BEGAN)).await.unwrap();
    history.turn(&old, &turn(1, "interviewer", "Was ist eine STRASSE in Łódź?", 0)).await.unwrap();
    history.turn(&old, &turn(2, "candidate", "Eine Straße.", 0)).await.unwrap();
    history.answer(&old, &answer_to(1, 1, "Łódź hat viele Straßen")).await.unwrap();
    let new = history.begin(&begin("new", &user.id, BEGAN + 1)).await.unwrap();
    history.turn(&new, &turn(1, "interviewer", "Eine straße, bitte", 0)).await.unwrap();
    let search = async |query: &str| {
        let page = get(&api, &token, &format!("{PATH}/search?q={query}")).await;
        let items = page["items"].as_array().unwrap().clone();
        assert_eq!(page["next"], Value::Null);
        items
    };
    let found: Vec<_> = search("stra%C3%9Fe").await;
    let ids = listed(&api, &token).await;
    let summary: Vec<_> = found.iter().map(|hit| json!([hit["id"], hit["kind"], hit["turn"]])).collect();
    assert_eq!(
        json!(summary),
        json!([[ids[0], "turn", 1], [ids[1], "turn", 2], [ids[1], "turn", 1], [ids[1], "answer", 1]])
    );
    assert_eq!(found[2]["snippet"], "Was ist eine STRASSE in Łódź?");
    assert_eq!(found[2]["matches"], json!([{"start": 13, "length": 7}]));
    assert_eq!(search("%C5%81%C3%93D%C5%B9+strasse").await.len(), 2);
    assert_eq!(search("eine+missing").await.len(), 0);
    assert_eq!(search("%25+OR+1=1").await.len(), 0);
    for query in
        ["", "?q=", "?q=+", "?q=a+b+c+d+e+f+g+h+i+j+k", "?q=a&cursor=x", "?q=a&cursor=-.x", "?q=a&x=1"]
    {
        let (status, body) = answer(api.get(&format!("{PATH}/search{query}")).bearer_auth(&token)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {body}");
    }
}

#[tokio::test]
async fn what_is_deleted_while_it_is_written_leaves_nothing() {
    let api = Api::start().await;
    let (user, token) = api.user().await;
    let history = SessionHistory::new(&api.state);
    for n in 0..8 {
        let session = history.begin(&begin("live", &user.id, BEGAN + n)).await.unwrap();
        let ids = listed(&api, &token).await;
        let writer = async {
            for n in 1..1_000 {
                match history.turn(&session, &turn(n, "interviewer", "words", n)).await {
                    Ok(()) => {}
                    Err(error) => return error,
                }
                if let Err(error) = history.answer(&session, &answer_to(n, n, "words")).await {
                    return error;
                }
            }
            panic!("it was deleted long ago");
        };
        let path = if n % 2 == 0 { format!("{PATH}/{}", ids[0]) } else { PATH.to_owned() };
        let deleter = async {
            tokio::time::sleep(std::time::Duration::from_millis(3 * n as u64)).await;
            delete(&api, &token, &path).await
        };
        let (error, status) = tokio::join!(writer, deleter);
        assert_eq!((error, status), (HistoryError::Deleted, StatusCode::NO_CONTENT));
        assert_eq!(records(&api.state).await, (0, 0, 0));
        assert_eq!(history.end(&session, "client", 1, 1).await, Err(HistoryError::Deleted));
    }
}

#[tokio::test]
async fn a_session_is_bounded_and_its_texts_are_cut() {
    let api = Api::start().await;
    let (user, token) = api.user().await;
    let history = SessionHistory::new(&api.state);
    let session = history.begin(&begin("large", &user.id, BEGAN)).await.unwrap();
    // The worst that JSON can make of a text.
    let long = "\"".repeat(1 << 20);
    let mut answer = answer_to(1, 1, &long);
    answer.question.clone_from(&long);
    answer.key_points = vec![long.clone(); 20];
    answer.sources = vec![control_api::history::KeptSource { cv_line: 1, text: long.clone() }; 100];
    history.answer(&session, &answer).await.unwrap();
    history.turn(&session, &turn(1, "interviewer", "a\u{0}b\u{1b}c\nd", 0)).await.unwrap();
    assert_eq!(history.turn(&session, &turn(100_000, "interviewer", "a", 0)).await, Err(HistoryError::Full));
    let id = listed(&api, &token).await.remove(0);
    let detail = get(&api, &token, &format!("{PATH}/{id}")).await;
    let turn_1 = &detail["turns"][0];
    assert_eq!(turn_1["text"], "abc\nd");
    assert_eq!(turn_1["answers"][0]["content"].as_str().unwrap().len(), 256 * 1024);
    let mut kept = 0;
    let full = loop {
        match history.turn(&session, &turn(kept + 2, "interviewer", &long, 0)).await {
            Ok(()) => kept += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(full, HistoryError::Full);
    assert!((200..256).contains(&kept), "{kept} turns of 64 KiB within 16 MiB");
    assert_eq!(delete(&api, &token, PATH).await, StatusCode::NO_CONTENT);
    assert_eq!(records(&api.state).await, (0, 0, 0));
}
