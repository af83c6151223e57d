//! Schemathesis asks the running API everything that its description allows, and much that it does not: it never fails, and
//! answers nothing that is not described.
//!
//! Not here: who may do what (`matrix.rs`).

use crate::account;
use crate::api;
use crate::schemathesis;
use crate::written::{BEGAN, answer_to, begin, turn};
use account::{bearer, registered, user_id};
use api::{Api, answer};
use control_api::{
    history::{Begin, SessionHistory, SessionRecord},
    storage::{Filter, StoreError},
    users::User,
};
use schemathesis::{Outcome, Run};
use serde_json::{Value, json};

/// They end the login that calls them: each has one of its own.
const ENDINGS: &[(&str, &str)] = &[
    ("POST", "/api/v1/auth/logout"),
    ("POST", "/api/v1/auth/logout-all"),
    ("DELETE", "/api/v1/auth/sessions/{id}"),
    ("DELETE", "/api/v1/users/me"),
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_fails_and_no_answer_is_undescribed() {
    let api = Api::start().await;
    let (_, document) = answer(api.get("/api/v1/openapi.json")).await;
    let described: usize =
        document["paths"].as_object().unwrap().values().map(|it| it.as_object().unwrap().len()).sum();
    let ann = registered(&api, "ann@example.org").await;
    let mut total = Total::default();

    let endings: Vec<String> =
        ENDINGS.iter().map(|(method, path)| format!("--exclude-name={method} {path}")).collect();
    let others: Vec<&str> = endings.iter().map(String::as_str).collect();
    let everything = run(&api, &document, &ann, &others, 25, "");
    let Some(everything) = everything else { return };
    let asked = total.add("everything, as a user", &everything);
    assert_eq!(asked + ENDINGS.len() as u64, described as u64, "each route is asked");

    let known = known(&api, &ann).await;
    let operations = ["--include-path-regex=^/api/v1/(history|interviews)/.*{id}", "--exclude-method=DELETE"];
    let things = run(&api, &document, &ann, &operations, 25, &known).unwrap();
    assert_eq!(total.add("their own sessions and interviews", &things), 5);

    let root = registered(&api, "root@example.org").await;
    let make_admin = |user: &mut User| {
        user.admin = true;
        Ok::<_, StoreError>(())
    };
    api.state.records().update(&user_id(&root), make_admin).await.unwrap();
    let known = format!("[parameters]\n\"path.id\" = {:?}\n", user_id(&ann));
    let admin = run(&api, &document, &root, &["--include-path-regex=^/api/v1/admin/"], 25, &known).unwrap();
    assert_eq!(total.add("as an admin", &admin), 2);

    for (n, (method, path)) in ENDINGS.iter().enumerate() {
        let pair = registered(&api, &format!("leaving-{n}@example.org")).await;
        let name = format!("--include-name={method} {path}");
        let ending = run(&api, &document, &pair, &[&name], 5, "").unwrap();
        assert_eq!(total.add(&format!("{method} {path}"), &ending), 1);
    }
    let Total { cases, accepted, failures } = total;
    println!("{cases} cases for {described} operations, {accepted} accepted, {failures} not as described");
    assert!(cases >= 1_500 && accepted >= 250, "{cases}, {accepted}: it asked too little to say anything");
    for (path, token) in [("/api/v1/users/me", &ann), ("/api/v1/admin/users?email=ann@example.org", &root)] {
        assert_eq!(answer(bearer(api.get(path), token)).await.0, 200, "{path}: the login lived to the end");
    }
}

fn run(
    api: &Api,
    document: &Value,
    pair: &Value,
    operations: &[&str],
    examples: u32,
    known: &str,
) -> Option<Outcome> {
    let token = pair["access_token"].as_str().unwrap();
    tokio::task::block_in_place(|| Run { url: &api.url, document, token, operations, examples, known }.go())
}

/// A session and an interview of the user's, as parameters.
async fn known(api: &Api, pair: &Value) -> String {
    let kept = SessionHistory::new(&api.state);
    let user_id = user_id(pair);
    let id = uuid::Uuid::now_v7().to_string();
    let session = kept.begin(&Begin { id: &id, ..begin("live", &user_id, BEGAN) }).await.unwrap();
    for n in 0..3 {
        kept.turn(&session, &turn(n, "interviewer", "Why Rust?", n * 3_000)).await.unwrap();
        kept.answer(&session, &answer_to(n, n, "It is fast")).await.unwrap();
    }
    let of_user = Filter::all().eq("user_id", user_id.as_str());
    let session = api.state.records::<SessionRecord>().find_one(of_user).await.unwrap().unwrap();
    let (status, interview) =
        answer(bearer(api.post("/api/v1/interviews", &json!({"title": "Engineer"})), pair)).await;
    assert_eq!(status, 201, "{interview}");
    format!(
        "[[operations]]\ninclude-path-regex = \"^/api/v1/history/\"\nparameters = {{ \"path.id\" = {:?} }}\n\
         [[operations]]\ninclude-path-regex = \"^/api/v1/interviews/\"\nparameters = {{ \"path.id\" = {} }}\n",
        session.id, interview["id"]
    )
}

#[derive(Debug, Default)]
struct Total {
    cases: u64,
    /// Valid requests that were done.
    accepted: u64,
    failures: u64,
}

impl Total {
    /// Counts a run, which must have found nothing; how many operations it asked.
    fn add(&mut self, name: &str, outcome: &Outcome) -> u64 {
        let report = &outcome.report;
        let number = |pointer: &str| report.pointer(pointer).unwrap().as_u64().unwrap();
        let (tested, cases) = (number("/operations/tested"), number("/test_cases/generated"));
        let failures = number("/test_cases/with_failures");
        println!("{name}: {tested} operations, {cases} cases, {failures} failures");
        assert!(failures == 0 && outcome.clean, "{name}:\n{}", outcome.said);
        assert_eq!((&report["complete"], &report["errors"]), (&json!(true), &json!([])), "{}", outcome.said);
        assert!(tested > 0 && cases > 0, "{name}:\n{}", outcome.said);
        let rates = report["valid_rates"].as_object().unwrap().values();
        let phases = rates.flat_map(|operation| operation.as_object().unwrap().values());
        self.accepted += phases.map(|phase| phase["accepted"].as_u64().unwrap()).sum::<u64>();
        self.cases += cases;
        self.failures += failures;
        tested
    }
}
