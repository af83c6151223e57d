//! What is deleted from the history is gone from the disk, not only from sight.
//!
//! Not here: accounts that are erased (`auth`), sessions that were never to be kept (`no_store`), MongoDB's files.

use crate::api;
use crate::written;
use std::{fs, path::Path, sync::Arc};

use api::{Api, Outbox, answer};
use control_api::{ApiState, history::SessionHistory};
use reqwest::{Method, StatusCode};
use written::{BEGAN, answer_to, begin, turn};

const CANARY: &str = "xylophone-quagga-7731";

/// Files of the folder, with how often the phrase is in each that has it.
fn traces(folder: &Path) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            found.extend(traces(&path));
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let count = bytes.windows(CANARY.len()).filter(|window| *window == CANARY.as_bytes()).count();
        if count > 0 {
            found.push((path.file_name().unwrap().to_string_lossy().into_owned(), count));
        }
    }
    found
}

async fn keep(state: &ApiState, user_id: &str, name: &str, phrase: &str) {
    let history = SessionHistory::new(state);
    let session = history.begin(&begin(name, user_id, BEGAN)).await.unwrap();
    for n in 1..=40 {
        // Some are longer than a page of the file.
        let text = format!("{phrase} {}", "word ".repeat(n as usize * 100));
        history.turn(&session, &turn(n, "interviewer", &text, n * 1_000)).await.unwrap();
        history.answer(&session, &answer_to(n, n, &text)).await.unwrap();
        history.turn(&session, &turn(n, "interviewer", &format!("{text} again"), n * 1_000)).await.unwrap();
    }
    history.withdraw_answer(&session, 7).await.unwrap();
    history.end(&session, "client", 1, BEGAN + 1).await.unwrap();
}

#[tokio::test]
async fn a_deleted_phrase_is_in_no_byte_of_the_data_folder() {
    let folder = tempfile::tempdir().unwrap();
    let state = api::state(&folder, &Arc::new(Outbox::default())).await;
    let api = Api::start_with(|used| *used = state.clone()).await;
    let (ann, token) = api.user().await;
    let (bob, _) = api.user().await;
    for (round, one) in [true, false].into_iter().enumerate() {
        keep(&state, &bob.id, &format!("of bob {round}"), "what stays").await;
        keep(&state, &ann.id, &format!("of ann {round}"), CANARY).await;
        assert!(
            traces(folder.path()).iter().any(|(_, count)| *count >= 40),
            "the search finds what is there"
        );
        let mut path = "/api/v1/history".to_owned();
        if one {
            let (_, page) = answer(api.get(&path).bearer_auth(&token)).await;
            path = format!("{path}/{}", page["items"][0]["id"].as_str().unwrap());
        }
        let (status, _) = answer(api.request(Method::DELETE, &path).bearer_auth(&token)).await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        // Happens by itself once a minute: until then the write-ahead log may have it.
        state.store.sweep(0).await.unwrap();
        assert_eq!(traces(folder.path()), [], "after deleting {path}");
    }
}
