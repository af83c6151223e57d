//! Exports of a session, each read by other people's programs for its format.
//!
//! Not here: the division of a turn into cues (unit tests), who may export what (`history.rs`).

use crate::api;
use crate::formats;
use crate::written;
use api::Api;
use control_api::{
    history::{KeptSession, SessionHistory},
    interviews::Interview,
};
use serde_json::{Value, json};
use written::{BEGAN, answer_to, begin, turn};

/// What somebody might say who wants a page to run their code, or a file to fall apart.
const HOSTILE: &[&str] = &[
    "<script>alert(1)</script> <b>bold</b> <i>x</i>",
    "00:00:01.000 --> 00:00:02.000",
    "WEBVTT NOTE STYLE ::cue {}",
    "[link](http://example.com) ![image](x.png) <http://example.com> [ref]: /url",
    "# heading",
    "- list",
    "+ list",
    "1. list",
    "1) list",
    "> quote",
    "--- *** ___",
    "=====",
    "``` code ```",
    "~~~ code",
    "`code` *em* **strong** _em_ __strong__ ~~gone~~",
    "| a | b |",
    "|---|---|",
    "&amp; &lt;b&gt; &#35; &copy;",
    "back\\slash \\*not em\\* \\",
    "{\\an8}top {b}bold{/b}",
    "ünïcödé 語 🦀 \u{202e}",
    "$x$ 3.5 10:30 a@b.example www.example.com",
];

struct Written {
    api: Api,
    token: String,
    path: String,
}

/// A session of an interview with this title, in which `said` was said.
async fn written(title: &str, said: impl AsyncFn(&SessionHistory, &KeptSession)) -> Written {
    let api = Api::start().await;
    let (user, token) = api.user().await;
    let interview = Interview {
        id: "0197b0c2-0000-7000-8000-000000000001".to_owned(),
        user_id: user.id.clone(),
        title: title.to_owned(),
        company: String::new(),
        position: String::new(),
        job_description: String::new(),
        created_at: 0,
    };
    api.state.records().insert(&interview).await.unwrap();
    let history = SessionHistory::new(&api.state);
    let mut beginning = begin("mock-1", &user.id, BEGAN);
    beginning.interview_id = Some(&interview.id);
    let session = history.begin(&beginning).await.unwrap();
    said(&history, &session).await;
    history.end(&session, "client", 61_240, BEGAN + 61_240).await.unwrap();
    let (_, page) = api::answer(api.get("/api/v1/history").bearer_auth(&token)).await;
    let path = format!("/api/v1/history/{}/export", page["items"][0]["id"].as_str().unwrap());
    Written { api, token, path }
}

async fn hostile() -> Written {
    written("../../*Title* \"<b>\"\r\nX: y", async |history, session| {
        for (n, text) in HOSTILE.iter().enumerate() {
            let n = n as u64 + 1;
            let role = if n.is_multiple_of(2) { "candidate" } else { "interviewer" };
            history.turn(session, &turn(n, role, text, n * 3_000)).await.unwrap();
            let mut answer = answer_to(n, n, &format!("{text}\n\n    {text}\n{text}"));
            answer.question = (*text).to_owned();
            history.answer(session, &answer).await.unwrap();
        }
    })
    .await
}

impl Written {
    /// Media type, file name and text.
    async fn export(&self, format: &str) -> (String, String, String) {
        let request = self.api.get(&format!("{}?format={format}", self.path)).bearer_auth(&self.token);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{format}");
        let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
        let (media, disposition) = (header("content-type"), header("content-disposition"));
        assert_eq!(header("x-content-type-options"), "nosniff");
        let name = disposition.strip_prefix("attachment; filename=\"").unwrap().strip_suffix('"').unwrap();
        (media, name.to_owned(), response.text().await.unwrap())
    }
}

#[tokio::test]
async fn files_have_their_media_type_and_a_harmless_name() {
    let written = hostile().await;
    for (format, media) in [
        ("txt", "text/plain; charset=utf-8"),
        ("md", "text/markdown; charset=utf-8"),
        ("srt", "application/x-subrip; charset=utf-8"),
        ("vtt", "text/vtt; charset=utf-8"),
        ("json", "application/json"),
    ] {
        let (had, name, _) = written.export(format).await;
        assert_eq!((&*had, name), (media, format!("title-b-x-y-2026-11-23.{format}")));
    }
    for query in ["", "?format=", "?format=pdf", "?format=TXT", "?format=txt&x=1"] {
        let request = written.api.get(&format!("{}{query}", written.path)).bearer_auth(&written.token);
        assert_eq!(request.send().await.unwrap().status(), 400, "{query}");
    }
}

#[tokio::test]
async fn srt_and_vtt_are_read_by_others_with_the_same_cues() {
    let written = hostile().await;
    let (.., srt) = written.export("srt").await;
    let (.., vtt) = written.export("vtt").await;
    let srt = formats::read("srt", &srt, None);
    let vtt = formats::read("vtt", &vtt, None);
    let (srt_cues, vtt_cues) = (srt["cues"].as_array().unwrap(), vtt["cues"].as_array().unwrap());
    assert_eq!((srt_cues.len(), vtt_cues.len()), (HOSTILE.len(), HOSTILE.len()));
    for (n, text) in HOSTILE.iter().enumerate() {
        let speaker = if n % 2 == 1 { "Candidate" } else { "Interviewer" };
        let start = (n + 1) * 3_000;
        let seen = json!([vtt["times"][n], vtt_cues[n][2], vtt_cues[n][3]]);
        assert_eq!(seen, json!([[start, start + 2_000], text, speaker]));
        let parted = if text.contains("-->") { text.replace(':', ":\u{2060}") } else { (*text).to_owned() };
        let plain = parted.replace('<', "‹").replace('>', "›").replace("{\\", "{\u{2060}\\");
        assert_eq!(srt_cues[n], json!([start, start + 2_000, format!("{speaker}: {plain}")]));
        assert_eq!(srt["others"][n], json!([vtt_cues[n][0], vtt_cues[n][1], srt_cues[n][2]]));
    }
}

#[tokio::test]
async fn long_and_crossing_turns_are_cues_of_84_characters_and_7_seconds_that_do_not_overlap() {
    let written = written("Long", async |history, session| {
        let long = "Tell me about a time when things went wrong. ".repeat(30);
        let mut one = turn(1, "interviewer", &long, 1_000);
        one.end_ms = 91_000;
        history.turn(session, &one).await.unwrap();
        let mut two = turn(2, "candidate", "Well, then it all began with a deployment.", 5_000);
        two.end_ms = 20_000;
        history.turn(session, &two).await.unwrap();
    })
    .await;
    let (.., srt) = written.export("srt").await;
    let (.., vtt) = written.export("vtt").await;
    let srt = formats::read("srt", &srt, None);
    let vtt = formats::read("vtt", &vtt, None);
    let times: Vec<_> = srt["cues"].as_array().unwrap().iter().map(|cue| json!([cue[0], cue[1]])).collect();
    assert_eq!(json!(times), vtt["times"]);
    let mut free = 1_000;
    let mut words = Vec::new();
    for (time, cue) in times.iter().zip(vtt["cues"].as_array().unwrap()) {
        let (start, end) = (time[0].as_u64().unwrap(), time[1].as_u64().unwrap());
        assert!(start >= free && end > start && end - start <= 7_000, "{time}");
        let text = cue[2].as_str().unwrap();
        assert!(text.chars().count() <= 84);
        if cue[3] == "Interviewer" {
            words.extend(text.split(' ').map(str::to_owned));
        }
        free = end;
    }
    assert!(times.len() > 16);
    assert_eq!(words.join(" "), "Tell me about a time when things went wrong. ".repeat(30).trim());
}

#[tokio::test]
async fn markdown_shows_hostile_text_as_it_is() {
    let written = hostile().await;
    let (.., markdown) = written.export("md").await;
    let seen = formats::read("md", &markdown, None);
    let kinds = [
        "blockquote_close",
        "blockquote_open",
        "hardbreak",
        "heading_close",
        "heading_open",
        "inline",
        "paragraph_close",
        "paragraph_open",
        "strong_close",
        "strong_open",
        "text",
    ];
    assert_eq!(seen["kinds"], json!(kinds), "no link, image, HTML, list, code or table\n{markdown}");
    let mut lines = seen["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap());
    assert_eq!(lines.next(), Some("../../*Title* \"<b>\" X: y"));
    lines.next();
    for (n, text) in HOSTILE.iter().enumerate() {
        let speaker = if n % 2 == 1 { "Candidate" } else { "Interviewer" };
        let time = format!("00:{:02}:{:02}", (n + 1) * 3 / 60, (n + 1) * 3 % 60);
        assert_eq!(lines.next(), Some(&*format!("{speaker} ({time}): {text}")));
        assert_eq!(lines.next(), Some(&*format!("Answer (balanced) to: {text}")));
        let source = "CV line 12: Moved it to Rust";
        assert_eq!(lines.next(), Some(&*format!("{text}\n{text}\n{text}\n{source}")));
    }
    assert_eq!(lines.next(), None);
}

#[tokio::test]
async fn json_is_what_the_description_says() {
    let written = hostile().await;
    let (_, _, text) = written.export("json").await;
    let (_, description) = api::answer(written.api.get("/api/v1/openapi.json")).await;
    let schema = json!({"$ref": "#/components/schemas/Export", "components": description["components"]});
    assert_eq!(formats::read("json", &text, Some(&schema))["refusal"], Value::Null);
    let export: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&export["version"], export["turns"].as_array().unwrap().len()), (&json!(1), HOSTILE.len()));
    for (n, said) in HOSTILE.iter().enumerate() {
        assert_eq!(
            (&export["turns"][n]["text"], &export["turns"][n]["answers"][0]["question"]),
            (&json!(said), &json!(said))
        );
    }
    // The validator does look.
    for pointer in ["/version", "/turns/3/start_ms", "/turns/3/answers/0/timings", "/session/started_at"] {
        let mut other = export.clone();
        *other.pointer_mut(pointer).unwrap() = json!([0]);
        let seen = formats::read("json", &other.to_string(), Some(&schema));
        assert_ne!(seen["refusal"], Value::Null, "{pointer}");
    }
}

#[tokio::test]
async fn plain_text_has_a_line_a_turn_with_its_time() {
    let written = written("Backend", async |history, session| {
        history.turn(session, &turn(1, "interviewer", "Why\nRust?", 3_723_000)).await.unwrap();
        history.answer(session, &answer_to(1, 1, "It is fast.\n\n- and safe")).await.unwrap();
        history.turn(session, &turn(2, "mixed", "Good.", 3_730_000)).await.unwrap();
    })
    .await;
    let (.., text) = written.export("txt").await;
    let expected = "\
Backend
2026-11-23T20:15:00.000Z, 00:01:01 of audio

[01:02:03] Interviewer: Why Rust?

    Answer (balanced) to: Was?
    It is fast.
    - and safe
    CV line 12: Moved it to Rust

[01:02:10] Speaker: Good.
";
    assert_eq!(text, expected);
}

#[tokio::test]
async fn a_session_without_a_word_is_a_valid_file_too() {
    let written = written("", async |_, _| {}).await;
    for format in ["srt", "vtt"] {
        let (_, name, text) = written.export(format).await;
        assert_eq!(name, format!("interview-2026-11-23.{format}"));
        if format == "vtt" {
            assert_eq!(formats::read(format, &text, None)["cues"], json!([]));
        } else {
            assert_eq!(text, "");
        }
    }
}
